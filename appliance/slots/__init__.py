"""Software slots: which copy of the software runs. Standard library only: it also runs alone, outside every slot."""
