"""An order, in a package: workflows, activities, models and rules apart."""
