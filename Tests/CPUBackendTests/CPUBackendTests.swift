// Written with its target.
