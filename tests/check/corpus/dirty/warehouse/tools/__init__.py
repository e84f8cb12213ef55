from .clocks import stamp as stamp
