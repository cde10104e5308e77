"""Several replicas of one configuration behind one address, as processes of one host, and what looks after them."""
