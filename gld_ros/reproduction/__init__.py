"""GLD's published claims in miniature: variants trained alike on procedural rooms, and the paper's tables of them."""
