"""Hash functions of published balancers, exact to the bit: of flows, and of texts."""
