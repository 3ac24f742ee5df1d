"""How costs grow with size, for `scale.py --slopes`: each module measures one subject and gives {curve: {size: seconds}}."""
