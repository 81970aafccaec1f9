"""The arm's model against the official numbers of the SO-101."""

import json

import mujoco
import numpy as np
import pytest
from conftest import ROOT

from so101rl.robots import so101, workspace
from so101rl.robots.kinematics import Kinematics
from so101rl.scene import appearance

GOLDEN = json.loads((ROOT / "tests/golden_fk.json").read_text())
POSES = GOLDEN["poses"]

# Joint limits [rad], masses [kg], centres of mass [m] and inertias about them
# (Ixx Iyy Izz Ixy Ixz Iyz) [1e-6 kg m^2], in body axes.
LIMITS = {
    "shoulder_pan": (-1.91986, 1.91986),
    "shoulder_lift": (-1.74533, 1.74533),
    "elbow_flex": (-1.69, 1.69),
    "wrist_flex": (-1.65806, 1.65806),
    "wrist_roll": (-2.74385, 2.84121),
    "gripper": (-0.17453, 1.74533),
}
BODIES = {
    "base": (
        0.147,
        (0.01372, -0.00005, 0.03348),
        (114.686, 136.117, 130.364, -0.460, 4.972, 0.098),
    ),
    "shoulder": (
        0.100006,
        (-0.03076, -0.00002, -0.02527),
        (83.759, 81.0403, 23.9783, 0.0756, -1.1634, 0.1547),
    ),
    "upper_arm": (
        0.103,
        (-0.08985, -0.00838, 0.01841),
        (40.8002, 147.318, 142.487, -19.7819, -0.0403, 0.00897),
    ),
    "lower_arm": (
        0.104,
        (-0.09807, 0.00324, 0.01828),
        (28.7438, 159.844, 145.29, 7.41152, 1.26409, -0.0490),
    ),
    "wrist": (
        0.079,
        (-0.00010, -0.03861, 0.02812),
        (36.8263, 25.391, 21.0, 0.0179, -0.0528, 3.6412),
    ),
    "gripper": (
        0.087,
        (0.00021, 0.00025, -0.02519),
        (27.5087, 43.3657, 34.5059, -0.3352, -5.7352, -0.0518),
    ),
    "moving_jaw": (
        0.012,
        (-0.00157, -0.03002, 0.01928),
        (6.61427, 1.89032, 5.28738, -0.3198, -0.0059, -0.1099),
    ),
}


@pytest.fixture(scope="module")
def model():
    return so101.spec().compile()


def golden(key: str) -> np.ndarray:
    return np.array([pose[key] for pose in POSES])


def test_there_are_golden_poses_and_the_joints_have_their_order():
    assert len(POSES) == 20
    assert tuple(GOLDEN["joints"]) == so101.JOINTS


@pytest.mark.parametrize("pose", POSES, ids=range(len(POSES)))
def test_forward_kinematics_and_jacobian_are_the_official_ones(model, pose):
    data = mujoco.MjData(model)
    data.qpos[:] = pose["qpos_rad"]
    mujoco.mj_forward(model, data)
    site = model.site(so101.GRIPPERFRAME).id
    jac = np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, jac, None, site)
    near = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(data.site_xpos[site], pose["gripperframe_pos_m"], **near)
    rotation = pose["gripperframe_rotation_row_major"]
    np.testing.assert_allclose(data.site_xmat[site], rotation, **near)
    np.testing.assert_allclose(jac, pose["jacobian_pos_m_per_rad"], **near)


@pytest.mark.parametrize("n", [len(POSES), len(POSES) + 5])
def test_batched_kinematics_are_the_official_ones(n):
    kinematics = Kinematics(n=n, site=so101.GRIPPERFRAME)
    tool = kinematics.tool(golden("qpos_rad"))
    near = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(tool.pos, golden("gripperframe_pos_m"), **near)
    rotation = golden("gripperframe_rotation_row_major").reshape(-1, 3, 3)
    np.testing.assert_allclose(tool.rot, rotation, **near)
    jac = golden("jacobian_pos_m_per_rad")
    np.testing.assert_allclose(tool.jac[:, :3], jac, **near)


def test_joints_and_limits(model):
    assert [model.joint(i).name for i in range(model.njnt)] == list(so101.JOINTS)
    low, high = so101.joint_limits()
    for i, name in enumerate(so101.JOINTS):
        assert (low[i], high[i]) == pytest.approx(LIMITS[name], abs=1e-5)


def test_wrist_roll_is_asymmetric():
    low, high = so101.joint_limits()
    assert high[4] + low[4] == pytest.approx(0.0974, abs=1e-4)


def test_gripper_sum_of_pitch_points_straight_down(model):
    data = mujoco.MjData(model)
    data.qpos[1:4] = 0.2, 0.5, np.pi / 2 - 0.7
    mujoco.mj_forward(model, data)
    approach = data.site(so101.GRIPPERFRAME).xmat.reshape(3, 3)[:, 0]
    np.testing.assert_allclose(approach, (0, 0, -1), atol=1e-3)


def test_positive_pan_turns_clockwise_seen_from_above(model):
    data = mujoco.MjData(model)
    data.qpos[0] = 0.5
    mujoco.mj_forward(model, data)
    assert data.site(so101.GRIPPERFRAME).xpos[1] < -0.1


@pytest.mark.parametrize("name", BODIES)
def test_mass_centre_and_inertia(model, name):
    mass, centre, (xx, yy, zz, xy, xz, yz) = BODIES[name]
    body = model.body(name)
    assert body.mass[0] == pytest.approx(mass, abs=1e-6)
    np.testing.assert_allclose(body.ipos, centre, atol=5e-6)
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, body.iquat)
    axes = axes.reshape(3, 3)
    full = axes @ np.diag(body.inertia) @ axes.T
    expected = np.array([(xx, xy, xz), (xy, yy, yz), (xz, yz, zz)])
    np.testing.assert_allclose(1e6 * full, expected, atol=6e-4)


def test_total_mass(model):
    assert model.body_mass.sum() == pytest.approx(0.632, abs=1e-4)


def test_model_needs_no_files(model):
    assert model.nmesh == 0
    assert model.nhfield == 0


def test_drawn_geoms_have_no_part_in_physics(model):
    drawn = [i for i in range(model.ngeom) if not model.geom(i).name]
    assert len(drawn) > 100
    assert set(model.geom_group[drawn]) == {appearance.DRAWN_GROUP}
    assert not model.geom_contype[drawn].any()
    assert not model.geom_conaffinity[drawn].any()


def test_stripped_model_moves_exactly_like_the_drawn_one(model):
    bare = so101.bare_model()
    assert bare.ngeom < 10 < model.ngeom
    ends = []
    for each in (model, bare):
        data = mujoco.MjData(each)
        data.qpos[:] = 0.3
        for _ in range(50):
            mujoco.mj_step(each, data)
        ends.append(data.qpos.copy())
    np.testing.assert_array_equal(ends[0], ends[1])


@pytest.mark.parametrize(
    ("body", "collision", "direction"),
    [
        ("gripper", "fixed_fingertip", (0, 0, -1)),
        ("moving_jaw", "moving_fingertip", (0, -1, 0)),
    ],
)
def test_drawn_jaws_end_where_the_colliding_ones_do(model, body, collision, direction):
    drawn = [
        reach(model, i, np.array(direction))
        for i in range(model.ngeom)
        if model.geom_bodyid[i] == model.body(body).id and not model.geom(i).name
    ]
    tip = reach(model, model.geom(collision).id, np.array(direction))
    assert max(drawn) == pytest.approx(tip, abs=0.001)


def test_wrist_camera_is_the_real_one(model):
    camera = model.camera(appearance.WRIST)
    assert model.body(camera.bodyid[0]).name == "gripper"
    vertical = np.radians(camera.fovy[0])
    horizontal = 2 * np.arctan(np.tan(vertical / 2) * 1920 / 1080)
    assert np.degrees([vertical, horizontal]) == pytest.approx([48.5, 77.3], abs=0.1)


def reach(model, geom: int, direction: np.ndarray) -> float:
    """How far a box, capsule or cylinder reaches along a direction of its body."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.geom_quat[geom])
    local = axes.reshape(3, 3).T @ direction
    size, kind = model.geom_size[geom], model.geom_type[geom]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        extra = np.abs(local) @ size
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        extra = size[0] + size[1] * abs(local[2])
    else:
        extra = size[0] * np.hypot(*local[:2]) + size[1] * abs(local[2])
    return float(model.geom_pos[geom] @ direction + extra)


def test_reach_at_table_height():
    low, high = workspace.reach()
    assert low == pytest.approx(0.043, abs=0.006)
    assert high == pytest.approx(0.388, abs=0.006)
    assert workspace.reach(0.05)[1] < high


def test_a_height_out_of_reach_is_named():
    with pytest.raises(workspace.OutOfReachError, match=r"height 0.9 m"):
        workspace.reach(0.9)
