"""Parts that others wrote, in lumbre: `make world`."""
