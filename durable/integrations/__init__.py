"""Other people's libraries, each in a small module that is imported when it is wanted."""
