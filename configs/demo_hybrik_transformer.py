_base_ = [
    './body_3d_mesh/hybrik_transformer/rendered/'
    'img-mesh_hybrik-transformer-res18-w32_1xb32_rendered-meshes-demo.py'
]
