"""The arm's model against the official numbers of the SO-101."""

import json

import numpy as np
import pytest
import toys
from conftest import ROOT
from scipy.spatial.transform import Rotation

from so101rl.errors import ConfigError
from so101rl.robots import so101, workspace
from so101rl.robots.kinematics import Kinematics
from so101rl.robots.robot import DRAWN_GROUP, Robot
from so101rl.scene import appearance

GOLDEN = json.loads((ROOT / "tests/golden_fk.json").read_text())
# Mass [kg], centre of mass [m] and inertia about it (Ixx Iyy Izz Ixy Ixz Iyz)
# [1e-6 kg m^2] of each body, in its axes.
BODIES = """\
base 0.147  0.01372 -5e-5 0.03348  114.686 136.117 130.364 -0.460 4.972 0.098
shoulder 0.100006  -0.03076 -2e-5 -0.02527  83.759 81.0403 23.9783 0.0756 -1.1634 0.1547
upper_arm 0.103  -0.08985 -0.00838 0.01841  40.8002 147.318 142.487 -19.7819 -0.0403 0.00897
lower_arm 0.104  -0.09807 0.00324 0.01828  28.7438 159.844 145.29 7.41152 1.26409 -0.0490
wrist 0.079  -0.0001 -0.03861 0.02812  36.8263 25.391 21.0 0.0179 -0.0528 3.6412
gripper 0.087  0.00021 0.00025 -0.02519  27.5087 43.3657 34.5059 -0.3352 -5.7352 -0.0518
moving_jaw 0.012  -0.00157 -0.03002 0.01928  6.61427 1.89032 5.28738 -0.3198 -0.0059 -0.1099
"""  # noqa: E501
LOWER = (-1.91986, -1.74533, -1.69, -1.65806, -2.74385, -0.17453)  # [rad]
HINGE = 'type="hinge" axis="0 0 1" range="-2 2"'  # of both toy joints
UPPER = (1.91986, 1.74533, 1.69, 1.65806, 2.84121, 1.74533)


@pytest.fixture(scope="module")
def model():
    return so101.SO101().spec().compile()


@pytest.mark.parametrize("n", [20, 25])
def test_kinematics_are_the_official_ones(n):
    keys = ("qpos_rad", "gripperframe_pos_m", "gripperframe_rotation_row_major")
    keys += ("jacobian_pos_m_per_rad",)
    qpos, *wanted = (np.array([pose[k] for pose in GOLDEN["poses"]]) for k in keys)
    wanted[1] = wanted[1].reshape(20, 3, 3)
    kinematics = Kinematics(so101.SO101(), n=n, site=so101.GRIPPERFRAME)
    tool, fk = kinematics.tool(qpos), kinematics.fk(qpos)
    for got in ((tool.pos, tool.rot, tool.jac[:, :3]), fk):
        for mine, official in zip(got, wanted, strict=False):
            np.testing.assert_allclose(mine, official, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=f"built for {n} arms, got 26"):
        kinematics.fk(np.zeros((26, 6)))


def test_joints_masses_centres_and_inertias_are_the_official_ones(model):
    joints = [model.joint(i).name for i in range(model.njnt)]
    assert joints == GOLDEN["joints"] == list(so101.JOINTS)
    np.testing.assert_allclose(so101.SO101().limits, (LOWER, UPPER), atol=1e-5)
    names, *numbers = zip(*(line.split() for line in BODIES.splitlines()), strict=True)
    assert [model.body(i).name for i in range(model.nbody)] == ["world", *names]
    mass, centre, inertia = np.split(np.array(numbers, float).T, [1, 4], axis=1)
    np.testing.assert_allclose(model.body_mass[1:], mass[:, 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.body_ipos[1:], centre, rtol=0, atol=5e-6)
    axes = Rotation.from_quat(model.body_iquat[1:], scalar_first=True).as_matrix()
    full = axes * model.body_inertia[1:, None] @ axes.transpose(0, 2, 1)
    full = 1e6 * full[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(full, inertia, rtol=0, atol=6e-4)


def test_drawn_geoms_need_no_files_and_have_no_part_in_physics(model):
    drawn = [i for i in range(model.ngeom) if not model.geom(i).name]
    assert len(drawn) > 100
    assert set(model.geom_group[drawn]) == {DRAWN_GROUP}
    assert not (model.geom_contype | model.geom_conaffinity)[drawn].any()
    assert model.nmesh == model.nhfield == 0
    bare = so101.SO101().bare_model()
    assert bare.ngeom == model.ngeom - len(drawn)
    for name in ("body_mass", "body_ipos", "body_iquat", "body_inertia"):
        np.testing.assert_array_equal(getattr(bare, name), getattr(model, name))


def test_wrist_camera_is_the_real_one(model):
    camera = model.camera(appearance.WRIST)
    assert model.body(camera.bodyid[0]).name == "gripper"
    vertical = np.radians(camera.fovy[0])
    horizontal = 2 * np.arctan(np.tan(vertical / 2) * 1920 / 1080)
    assert np.degrees([vertical, horizontal]) == pytest.approx([48.5, 77.3], abs=0.1)


def test_reach_at_table_height():
    assert workspace.reach() == pytest.approx((0.043, 0.388), abs=0.006)
    assert workspace.reach(0.05)[1] < workspace.reach()[1]
    with pytest.raises(workspace.OutOfReachError, match=r"height 0.9 m"):
        workspace.reach(0.9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</mujoco>", "", "model_path=.*: expected an MJCF file of toy; XML"),
        (toys.MJCF, None, "model_path=.*: expected an MJCF file of toy; .*opening"),
        ('"shoulder"', '"hip"', "=shoulder, elbow: expected all joints.*: hip, elbow"),
        (HINGE, 'type="ball" range="0 2"', "=shoulder: expected only hinges and"),
        ('range="-2 2"', "", "=shoulder: expected only hinges and slides with a range"),
        ('name="hand"', 'name="foot"', "tip of toy=hand: expected a site.*: foot"),
    ],
)
def test_a_robot_unlike_its_model_is_named(old, new, message, tmp_path):
    path = tmp_path / "toy.xml"
    if new is not None:
        path.write_text(toys.MJCF.replace(old, new))
    joints = ("shoulder", "elbow")
    robot = Robot(name="toy", model_path=path, joints=joints, tip="hand")
    with pytest.raises(ConfigError, match=message):
        Kinematics(robot, n=1)
