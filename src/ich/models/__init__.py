"""What a network is: backbones, heads, the cascade made of them. How it learns is `ich.training`."""
