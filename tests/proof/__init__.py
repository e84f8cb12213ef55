"""Proof under faults: histories, checkers of the promises, and every point where a worker and
its database may be parted. ``audit.sql`` sees what the database takes, ``history`` what the
world sees, ``checkers`` judge both."""
