"""How the outside talks to the appliance: the protocol above a transport seam."""
