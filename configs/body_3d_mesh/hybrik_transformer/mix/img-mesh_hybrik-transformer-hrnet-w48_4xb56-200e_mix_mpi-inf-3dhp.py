"""Test on MPI-INF-3DHP."""

_base_ = ['./img-mesh_hybrik-transformer-hrnet-w48_4xb56-200e_mix.py']

test_dataloader = {{_base_.mpi_inf_3dhp_test}}
test_evaluator = dict(protocol='mpi_inf_3dhp')
