"""Human preference data: pairs of answers, who preferred which and by how much (RECIPE 4; paper, section 3.2.1)."""
