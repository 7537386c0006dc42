_base_ = [
    './body_3d_mesh/hybrik_transformer/mix/img-mesh_hybrik-transformer-res34_4xb64-200e_mix.py'
]
