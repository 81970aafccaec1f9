"""Appearance of the scene: cameras, lights, sky and table. No effect on physics."""

import mujoco
import numpy as np

FRONT = "front"  # three-quarter view over the table, from the far right corner
TOP = "top"  # straight down over the work area, x up in the picture
WRIST = "wrist"  # on the gripper, part of the arm's model
CAMERAS = (FRONT, TOP, WRIST)

# Of a camera: position [m], target [m], up direction, vertical field of view [deg].
VIEWS = {
    FRONT: ((0.60, -0.43, 0.37), (0.155, 0.0, 0.115), (0, 0, 1), 39.0),
    TOP: ((0.20, 0.0, 0.66), (0.20, 0.0, 0.0), (1, 0, 0), 46.0),
}
# Of a directional light: direction, brightness. No light casts a shadow.
LIGHTS = {"key": ((-0.35, 0.65, -1.0), 0.40), "fill": ((0.4, -0.7, -1.0), 0.15)}
AMBIENT, HEADLIGHT = 0.38, 0.24
SKY_TOP, SKY_BOTTOM = (0.93, 0.95, 0.97), (0.72, 0.78, 0.85)
TABLE_COLOUR, GRID_COLOUR = (0.36, 0.40, 0.44), (0.32, 0.36, 0.40)
GRID = 0.10  # [m] spacing of the lines on the table, one through the base
TABLE = "table"  # material and texture of the geom of the same name
LARGEST_PICTURE = (1920, 1080)  # [px] width and height of the off-screen buffer


def add_appearance(spec: mujoco.MjSpec) -> None:
    """Add the cameras `front` and `top`, lights, sky and the material `table`."""
    for name, (position, target, up, fovy) in VIEWS.items():
        spec.worldbody.add_camera(
            name=name, pos=position, quat=_look_at(position, target, up), fovy=fovy
        )
    for name, (direction, brightness) in LIGHTS.items():
        spec.worldbody.add_light(
            name=name,
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            dir=direction,
            pos=[0, 0, 1.5],
            diffuse=[brightness] * 3,
            specular=[brightness / 4] * 3,
            ambient=[0, 0, 0],
            castshadow=False,
        )
    _add_colours(spec)
    visual = spec.visual
    visual.headlight.ambient = [AMBIENT] * 3
    visual.headlight.diffuse = [HEADLIGHT] * 3
    visual.headlight.specular = [0.05] * 3
    visual.quality.shadowsize = 0
    # Coarser primitives draw three times as fast and look the same at this size.
    visual.quality.numslices, visual.quality.numstacks = 16, 4
    visual.quality.numquads = 1
    visual.map.znear, visual.map.zfar = 0.01, 20
    visual.global_.offwidth, visual.global_.offheight = LARGEST_PICTURE
    spec.stat.extent, spec.stat.center = 0.6, [0.2, 0, 0.1]


def _add_colours(spec: mujoco.MjSpec) -> None:
    """Add the sky and the table's material."""
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=SKY_TOP,
        rgb2=SKY_BOTTOM,
        width=32,
        height=192,
    )
    spec.add_texture(
        name=TABLE,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=TABLE_COLOUR,
        markrgb=GRID_COLOUR,
        width=128,
        height=128,
    )
    table = spec.add_material(
        name=TABLE, texuniform=True, texrepeat=[2 / GRID] * 2, specular=0, shininess=0
    )
    table.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = TABLE


def _look_at(
    position: tuple[float, float, float],
    target: tuple[float, float, float],
    up: tuple[float, float, float],
) -> np.ndarray:
    """Return the quaternion (4,) wxyz of a camera at `position` that faces `target`."""
    back = np.subtract(position, target)
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    axes = np.column_stack([right, np.cross(back, right), back])
    mujoco.mju_mat2Quat(quat, axes.ravel())
    return quat
