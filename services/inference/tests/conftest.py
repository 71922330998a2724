"""Tests of inference calculate in one thread: the machine does other things beside them."""

import torch

torch.set_num_threads(1)
