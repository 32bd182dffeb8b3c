"""One model on many machines, with Ray (extra ``ray``): stored images and requests."""
