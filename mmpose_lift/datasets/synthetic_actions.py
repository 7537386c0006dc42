"""Plans of procedural actions: where the pelvis, the feet and the hands go, and when.

All numbers are made up so that the result looks like a person [np]; nothing is measured from
anybody. Every plan faces x at the origin on the whole; the caller turns and moves it.
"""

from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from .synthetic_body import (
    SIDES,
    MotionPlan,
    SyntheticSubject,
    body_rotation,
    min_jerk,
    sway,
    track,
)

# One stride of one foot by phase, 0 = it touches the ground: share of the way to the next foothold
# and height of the ankle above that of a flat foot, metres. The foot leaves the ground at 0.62; the
# ankle rises before, while the foot rolls over its ball.
_STRIDE_FORWARD = ((0, 0), (.40, 0), (.50, .012), (.62, .09), (.70, .27), (.80, .59), (.90, .88),
                   (.97, .985), (1, 1))
_STRIDE_HEIGHT = ((0, .035), (.06, .010), (.14, 0), (.34, 0), (.45, .015), (.55, .060), (.64, .125),
                  (.70, .135), (.78, .095), (.88, .040), (.95, .030), (1, .035))
# The same for steps on the spot: the foot is on the ground until 0.6 and swings low.
_STEP_FORWARD = ((0, 0), (.60, 0), (.70, .14), (.80, .50), (.90, .86), (1, 1))
_STEP_HEIGHT = ((0, 0), (.56, 0), (.66, .035), (.78, .075), (.90, .030), (1, 0))


def _cycle_table(points, rise: float) -> Tuple[np.ndarray, np.ndarray]:
    """Dense smooth table of one cycle; ``rise`` is what the value gains per cycle."""
    x, y = np.array(points).T
    curve = PchipInterpolator(x, y)
    grid = np.linspace(-1, 2, 3001)
    values = curve(grid - np.floor(grid)) + rise * np.floor(grid)
    values = gaussian_filter1d(values, 15, mode='nearest')
    return grid[1000:2001], values[1000:2001]


_TABLES = {'walk': (_cycle_table(_STRIDE_FORWARD, 1), _cycle_table(_STRIDE_HEIGHT, 0)),
           'step': (_cycle_table(_STEP_FORWARD, 1), _cycle_table(_STEP_HEIGHT, 0))}


def _turn(xy: np.ndarray, yaw) -> np.ndarray:
    """Rotate (..., 2) by ``yaw`` (...,) counter-clockwise."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([cos * xy[..., 0] - sin * xy[..., 1], sin * xy[..., 0] + cos * xy[..., 1]], -1)


def _footsteps(phase: np.ndarray, foothold: Callable, kind: str, ankle: float, lift: float = 1):
    """Ankles and feet of alternating steps.

    Args:
        phase: (F,) strides done; the left foot touches the ground at whole numbers, the right one
            half a stride later.
        foothold: (stride phases (N,), side sign) -> (N, 2) place and (N,) yaw of the foot.
        kind: 'walk' or 'step'.
        ankle: Height of the ankle above the floor when the foot is flat.
        lift: Scale of the step height.

    Returns:
        (F, 2, 3) ankles and (F, 2) yaw.
    """
    forward, height = _TABLES[kind]
    ankles = np.empty((len(phase), 2, 3))
    feet = np.empty((len(phase), 2))
    for index, (_, sign) in enumerate(SIDES):
        own = phase - 0.5 * index
        stride = np.floor(own).astype(int)
        strides = np.arange(stride.min(), stride.max() + 2)
        place, yaw = foothold(strides + 0.5 * index, sign)
        at = stride - strides[0]
        share = np.interp(own - stride, *forward)
        ankles[:, index, :2] = place[at] + share[:, None] * (place[at + 1] - place[at])
        ankles[:, index, 2] = ankle + lift * np.interp(own - stride, *height)
        feet[:, index] = yaw[at] + share * (yaw[at + 1] - yaw[at])
    return ankles, feet


def _within_reach(subject: SyntheticSubject, root: np.ndarray, pelvis: np.ndarray,
                  ankles: np.ndarray, fps: float) -> np.ndarray:
    """(F,) pelvis height, lowered smoothly where a leg would be too short for ``root``."""
    hips = body_rotation(pelvis)[:, None, :, 1] * np.array(
        [sign * subject.hip_half for _, sign in SIDES])[:, None]
    gap = np.linalg.norm((root[:, None] + hips - ankles)[..., :2], axis=-1)
    reach = np.sqrt(np.maximum((0.993 * subject.leg)**2 - gap**2, (0.3 * subject.leg)**2))
    limits = np.concatenate([ankles[..., 2] + reach - hips[..., 2], root[:, 2:]], axis=1)
    softness = 0.006
    lowest = limits.min(axis=1)
    height = lowest - softness * np.log(
        np.exp(-(limits - lowest[:, None]) / softness).sum(axis=1))
    return gaussian_filter1d(height, 0.04 * fps, mode='nearest')


def _standing_arms(rng: np.random.Generator, num_frames: int, fps: float) -> np.ndarray:
    """(F, 2, 4) angles of arms that hang at ease, with small movements."""
    base = np.array([0.05, 0.12, 0.25, 0.30]) + rng.uniform(-1, 1, (2, 4)) * [.10, .05, .25, .15]
    return base + sway(rng, num_frames, fps, (2, 4), 0.5) * [.04, .02, .05, .04]


def _small_angles(rng, num_frames, fps, size=0.02, seconds=0.6) -> np.ndarray:
    return size * sway(rng, num_frames, fps, (3, ), seconds)


def _stand(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Stand at the origin with both feet on the ground; the start of all actions on the spot."""
    n = len(time)
    root = np.zeros((n, 3))
    root[:, :2] = [0.012, 0.018] * sway(rng, n, fps, (2, ), 0.8)
    root[:, 2] = subject.hip_height - 0.003 * subject.height + 0.002 * sway(rng, n, fps, (), 0.6)
    ankles = np.empty((n, 2, 3))
    feet = np.empty((n, 2))
    spread = rng.uniform(0.9, 1.6) * subject.hip_half
    for index, (_, sign) in enumerate(SIDES):
        ankles[:, index] = [rng.uniform(-0.07, 0.02), sign * spread, subject.ankle]
        feet[:, index] = sign * rng.uniform(0, 0.25)
    return MotionPlan(root=root, pelvis=_small_angles(rng, n, fps), ankles=ankles, feet=feet,
                      lower=_small_angles(rng, n, fps), upper=_small_angles(rng, n, fps),
                      head=_small_angles(rng, n, fps, 0.08, 0.5),
                      arms=_standing_arms(rng, n, fps))


def _schedule(rng, time: np.ndarray, moves: Tuple[float, float], holds: Tuple[float, float]):
    """Starts and durations (E,) of movements with rests between, from before the first frame."""
    starts, durations = [], []
    now = time[0] - rng.uniform(0, 2.5)
    while now <= time[-1] or not starts:
        starts.append(now)
        durations.append(rng.uniform(*moves))
        now += durations[-1] + rng.uniform(*holds)
    return np.array(starts), np.array(durations)


def _walking_path(rng, length: float):
    """Closed or wandering path: (N,) arc length, (N, 2) place, (N,) yaw and (N,) curvature.

    ``length`` is the least arc length at its end, metres.
    """
    if rng.random() < 0.7:
        angle = np.linspace(0, 2 * np.pi, 1001)
        # an oval or a figure of eight that fits into a room, drawn in either direction
        x, y = rng.uniform(1.3, 2.1), rng.uniform(1.1, 1.7)
        eight = rng.random() < 0.35
        across = 0.7 * np.sin(2 * angle) if eight else np.sin(angle)
        xy = np.stack([x * np.cos(angle), y * across], -1)
        xy += rng.uniform(-0.1, 0.1, 2) * np.stack([np.cos(3 * angle), np.sin(2 * angle)], -1)
        xy[:, 1] *= rng.choice([-1, 1])
        step = np.diff(xy, axis=0)
        begin = xy[0]
        step = np.tile(step, (int(length / np.linalg.norm(step, axis=-1).sum()) + 1, 1))
    else:
        bend = rng.normal(0, 0.15) + 0.3 * sway(rng, int(100 * length), 100, (), 1.0)
        yaw = np.cumsum(bend) * 0.01
        begin = 0
        step = 0.01 * np.stack([np.cos(yaw), np.sin(yaw)], -1)
    yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    arc = np.cumsum(np.linalg.norm(step, axis=-1))
    curvature = gaussian_filter1d(np.gradient(yaw, arc), 5, mode='nearest')
    return arc, begin + np.cumsum(step, axis=0), yaw, curvature


class _Course(NamedTuple):
    """A walk: arrays over the path (N,), and where the walker is at each frame (F,)."""

    arc: np.ndarray  # length of the path up to a point, metres
    place: np.ndarray  # (N, 2)
    yaw: np.ndarray
    phase: np.ndarray  # strides done up to a point
    done: np.ndarray  # (F,) metres walked
    speed: np.ndarray  # (F,)
    bend: np.ndarray  # (F,) curvature, 1/m

    def at(self, done: np.ndarray) -> np.ndarray:
        """(..., 2) place after ``done`` metres."""
        return np.stack([np.interp(done, self.arc, self.place[:, i]) for i in range(2)], -1)


def _walking_course(rng, time: np.ndarray, size: float) -> _Course:
    arc, place, yaw, curvature = _walking_path(rng, 2.5 * (time[-1] + 10))
    pace = rng.uniform(0.8, 1.55) * np.sqrt(size)
    speed = pace * np.exp(0.10 * sway(rng, len(arc), 1 / np.mean(np.diff(arc)), (), 1.2))
    speed = speed / (1 + (curvature * speed**2 / 1.3)**2)**0.25  # slower in bends
    clock = np.concatenate([[0], np.cumsum(np.diff(arc) / speed[1:])])
    stride = 1.22 * size**0.5 * np.sqrt(speed)
    phase = np.concatenate([[0], np.cumsum(np.diff(arc) / stride[1:])])
    done = np.interp(time + rng.uniform(3, 5), clock, arc)
    return _Course(arc, place, yaw, phase, done, speed=np.interp(done, arc, speed),
                   bend=np.interp(done, arc, curvature))


def walking(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Walk along a turning path with varying speed."""
    n = len(time)
    size = subject.height / 1.75
    course = _walking_course(rng, time, size)
    phase = np.interp(course.done, course.arc, course.phase)
    width = rng.uniform(0.55, 0.95) * subject.hip_half
    outward = rng.uniform(0, 0.15, 2)

    def foothold(strides, sign):
        at = np.interp(strides + 0.24, course.phase, course.arc)
        heading = np.interp(at, course.arc, course.yaw)
        side = _turn(np.array([0, sign * width]), heading)
        return course.at(at) + side, heading + sign * outward[int(sign < 0)]

    ankles, feet = _footsteps(phase, foothold, 'walk', subject.ankle,
                              lift=size * rng.uniform(0.85, 1.1))
    cycle = 2 * np.pi * phase
    heading = gaussian_filter1d(np.interp(course.done, course.arc, course.yaw), 0.12 * fps,
                                mode='nearest')
    bob, weave, twist, tilt = rng.uniform([0.012, 0.012, 0.05, 0.02], [0.022, 0.028, 0.13, 0.06])
    root = np.empty((n, 3))
    sideways = np.stack([np.zeros(n), weave * np.sin(cycle)], -1)
    root[:, :2] = course.at(course.done) + _turn(sideways, heading)
    root[:, 2] = subject.hip_height - 0.02 * size - bob * np.cos(2 * cycle)
    lean = np.clip(-0.6 / 9.81 * course.bend * course.speed**2, -0.15, 0.15)
    pelvis = np.stack([heading - twist * np.cos(cycle), np.full(n, rng.uniform(0, 0.06)),
                       tilt * np.sin(cycle) + lean], -1) + _small_angles(rng, n, fps, 0.015)
    root[:, 2] = _within_reach(subject, root, pelvis, ankles, fps)
    plan = MotionPlan(root=root, pelvis=pelvis, ankles=ankles, feet=feet)
    _walking_upper_body(rng, plan, course, cycle, twist, tilt, fps)
    return plan


def _walking_upper_body(rng, plan: MotionPlan, course: _Course, cycle: np.ndarray, twist: float,
                        tilt: float, fps: float) -> None:
    """The trunk turns against the pelvis, the arms swing against the legs, the head stays level."""
    n = len(cycle)
    ahead = np.clip(0.25 * course.bend * course.speed, -0.4, 0.4)  # eyes into the bend
    plan.lower = np.stack([twist * np.cos(cycle), rng.uniform(0, 0.06) + 0.015 * np.cos(2 * cycle),
                           -0.8 * tilt * np.sin(cycle)], -1)
    plan.upper = np.stack([rng.uniform(0.8, 1.6) * twist * np.cos(cycle - 0.2),
                           np.full(n, rng.uniform(0, 0.1)), -0.2 * tilt * np.sin(cycle)], -1)
    plan.head = np.stack([ahead - 1.2 * twist * np.cos(cycle - 0.2),
                          np.full(n, rng.uniform(-0.2, 0.1)), np.zeros(n)], -1)
    plan.head += _small_angles(rng, n, fps, 0.10, 0.6)
    plan.arms = _standing_arms(rng, n, fps)
    swing = rng.uniform(0.22, 0.48)
    for index, (_, sign) in enumerate(SIDES):
        beat = -sign * np.cos(cycle - 0.25)
        force = swing * course.speed / 1.3 * rng.uniform(0.85, 1.15)
        plan.arms[:, index, 0] += force * beat
        plan.arms[:, index, 3] += 0.6 * force * np.exp(beat - 1)


def turning(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Stand, turn on the spot with small steps, stand again."""
    n = len(time)
    plan = _stand(rng, subject, time, fps)
    # the phase rests at n/2 + 0.05, when both feet are on the ground
    moves, phases, yaws = _turns(rng, time)
    starts, durations = moves
    grid = np.arange(time[0] - 6, time[-1] + 6, 0.01)
    steps = np.clip((grid[:, None] - starts) / durations, 0, 1)
    phase_grid = 0.05 + gaussian_filter1d(steps, 6, axis=0, mode='nearest') @ phases
    heading_grid = min_jerk((grid[:, None] - starts + 0.1) / (0.9 * durations)) @ yaws
    rise = phase_grid + 1e-9 * np.arange(len(grid))  # strictly increasing, to be inverted
    phase = np.interp(time, grid, phase_grid)
    heading = np.interp(time, grid, heading_grid)
    width = rng.uniform(0.9, 1.4) * subject.hip_half

    def foothold(strides, sign):
        yaw = np.interp(np.interp(strides + 0.03, rise, grid), grid, heading_grid)
        return _turn(np.array([-0.03, sign * width]), yaw), yaw + 0.1 * sign

    ankles, feet = _footsteps(phase, foothold, 'step', subject.ankle, lift=rng.uniform(0.7, 1.2))
    pace = np.gradient(phase, 1 / fps) if n > 1 else np.zeros(n)
    busy = np.clip(pace, 0, 1)
    plan.root[:, 1] += 0.03 * busy * np.sin(2 * np.pi * (phase - 0.05))
    plan.root[:, :2] = _turn(plan.root[:, :2], heading)
    plan.pelvis[:, 0] += heading
    plan.ankles, plan.feet = ankles, feet
    plan.root[:, 2] = _within_reach(subject, plan.root, plan.pelvis, ankles, fps)
    # the chest lags a little, the head leads
    rate = np.gradient(heading, 1 / fps) if n > 1 else np.zeros(n)
    plan.upper[:, 0] += 0.05 * rate
    plan.head[:, 0] += np.clip(0.16 * rate, -0.7, 0.7)
    plan.arms[:, :, 0] += (0.10 * busy * np.sin(2 * np.pi * phase))[:, None] * [1, -1]
    plan.arms[:, :, 1] += 0.04 * np.abs(rate)[:, None]
    return plan


def _turns(rng, time):
    starts, durations, phases, yaws = [], [], [], []
    now = time[0] - rng.uniform(0, 2)
    while now <= time[-1] or not starts:
        angle = rng.choice([-1, 1]) * rng.uniform(0.6, 3.4)
        steps = int(np.ceil(abs(angle) / 0.65)) + 1
        starts.append(now)
        durations.append(steps * rng.uniform(0.42, 0.55))
        phases.append(0.5 * steps)
        yaws.append(angle)
        now += durations[-1] + rng.uniform(0.4, 2.0)
    return (np.array(starts), np.array(durations)), np.array(phases), np.array(yaws)


def _reach_events(rng, events: int, size: float):
    """(E, 3) targets, (E,) is a hand out, (E + 1, 2) weights and (E + 1, 2, 3) hand targets."""
    target = np.stack([rng.uniform(0.35, 0.75, events), rng.uniform(-0.45, 0.45, events),
                       rng.uniform(0.35, 1.95, events)], -1) * size
    active = np.arange(events) % 2 == rng.integers(2)  # every second move goes back to rest
    active |= rng.random(events) < 0.25
    both = rng.random(events) < 0.3
    hold = np.zeros((events + 1, 2))
    hands = np.zeros((events + 1, 2, 3))
    for index, (_, sign) in enumerate(SIDES):
        hold[1:, index] = active & (both | (np.sign(target[:, 1]) == sign))
        apart = np.where(both, 0.10 * sign, 0.02 * sign)
        hands[1:, index] = target + apart[:, None] * [0, 1, 0]
    # a hand at rest waits where it goes next, or was last: only the weight moves it
    for event in range(events, 0, -1):
        hands[event - 1] = np.where(hold[event - 1, :, None] > 0, hands[event - 1], hands[event])
    for event in range(1, events + 1):
        hands[event] = np.where(hold[event, :, None] > 0, hands[event], hands[event - 1])
    return target, active, hold, hands


def reaching(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Reach for points near the floor, on a table or overhead with one hand or both."""
    plan = _stand(rng, subject, time, fps)
    starts, durations = _schedule(rng, time, (0.8, 1.4), (0.2, 1.0))
    size = subject.height / 1.75
    target, active, hold, hands = _reach_events(rng, len(starts), size)
    plan.hold = track(time, starts, durations, hold)
    plan.hands = track(time, starts, durations, hands)

    low = np.clip((1.15 * size - target[:, 2]) / size, 0, 1)
    far = np.maximum(target[:, 0] / size - 0.5, 0)
    side = np.arctan2(target[:, 1], target[:, 0])
    bend = 0.95 * low + 0.7 * far * (target[:, 2] < 1.5 * size)
    squat = np.clip(low - 0.35, 0, 1) * rng.uniform(0.2, 0.6) * size
    nod = np.clip((1.55 * size - target[:, 2]) * 0.5, -0.6, 0.5) - 0.4 * bend
    effort = np.zeros((len(starts) + 1, 5))
    effort[1:] = active[:, None] * np.stack(
        [squat, 0.10 * bend + 0.4 * squat, bend, side, nod], -1)
    down, back, pitch, yaw, nod = track(time, starts, durations, effort).T
    plan.root[:, 2] -= down
    plan.root[:, 0] -= back
    # what the whole body turns and bends is shared out along the back
    for part, turn, lean in ((plan.pelvis, 0.11, 0.45), (plan.lower, 0.16, 0.35),
                             (plan.upper, 0.18, 0.20), (plan.head, 0.40, 0)):
        part[:, 0] += turn * yaw
        part[:, 1] += lean * pitch
    plan.head[:, 1] += nod
    plan.root[:, 2] = _within_reach(subject, plan.root, plan.pelvis, plan.ankles, fps)
    return plan


def sitting(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Sit down on a chair, stay, talk with the hands or rest them on the thighs, stand up."""
    plan = _stand(rng, subject, time, fps)
    size = subject.height / 1.75
    starts, durations = _schedule(rng, time, (1.3, 2.0), (1.0, 3.5))
    seated = (np.arange(len(starts) + 1) + rng.integers(2)) % 2
    down = track(time, starts, durations, seated)
    seat = np.array([-rng.uniform(0.40, 0.46), 0, rng.uniform(0.47, 0.56)]) * size
    # first back, then down
    plan.root[:, 0] += seat[0] * np.sin(0.5 * np.pi * down)
    plan.root[:, 2] += (seat[2] - plan.root[:, 2]) * down**1.5
    hump = 4 * down * (1 - down)
    slouch = rng.uniform(-0.25, 0.15)
    plan.pelvis[:, 1] += 0.40 * hump + slouch * down
    plan.lower[:, 1] += 0.25 * hump + rng.uniform(0, 0.15) * down
    plan.upper[:, 1] += 0.10 * hump + rng.uniform(-0.05, 0.2) * down
    plan.head[:, 1] -= 0.35 * hump
    plan.ankles[:, :, 0] += 0.02 * size
    plan.arms[:, :, 0] += 0.35 * hump[:, None]
    talk = rng.random() < 0.5
    for index, (_, sign) in enumerate(SIDES):
        thigh = np.array([rng.uniform(0.20, 0.34), sign * rng.uniform(0.10, 0.17), 0.11]) * size
        plan.hands[:, index] = plan.root + thigh
        if talk:
            lift = np.array([0.05, 0.03, 0.16]) * size
            gesture = np.abs(sway(rng, len(time), fps, (1, ), 0.35))
            plan.hands[:, index] += np.tanh(gesture**2) * lift
            plan.hands[:, index] += 0.02 * sway(rng, len(time), fps, (3, ), 0.35)
        plan.hold[:, index] = min_jerk(1.15 * down)
    plan.root[:, 2] = _within_reach(subject, plan.root, plan.pelvis, plan.ankles, fps)
    return plan


def squatting(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Bend the knees and come up again, arms forward for balance."""
    plan = _stand(rng, subject, time, fps)
    starts, durations = _schedule(rng, time, (0.8, 1.5), (0.2, 1.2))
    events = len(starts)
    depth = np.where((np.arange(events + 1) + rng.integers(2)) % 2, rng.uniform(
        0.35, 0.95, events + 1), 0)
    depth[0] = 0
    down = track(time, starts, durations, depth)
    plan.root[:, 2] -= 0.48 * subject.leg * down
    plan.root[:, 0] -= 0.16 * subject.height / 1.75 * down
    plan.pelvis[:, 1] += rng.uniform(0.35, 0.6) * down
    plan.lower[:, 1] += 0.15 * down
    plan.head[:, 1] -= 0.4 * down
    arms = np.array([rng.uniform(0.9, 1.7), rng.uniform(0, 0.3), 0.1, rng.uniform(0.1, 0.5)])
    plan.arms += down[:, None, None] * arms
    plan.root[:, 2] = _within_reach(subject, plan.root, plan.pelvis, plan.ankles, fps)
    return plan


def waving(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Raise one arm and wave, lower it again."""
    plan = _stand(rng, subject, time, fps)
    starts, durations = _schedule(rng, time, (0.7, 1.1), (1.0, 2.5))
    raised = (np.arange(len(starts) + 1) + rng.integers(2)) % 2
    up = track(time, starts, durations, raised)
    index = rng.integers(2)
    # arm out to the side and turned so that the forearm points up
    pose = np.array([rng.uniform(0.3, 0.7), rng.uniform(1.2, 1.7), -1.7, rng.uniform(1.2, 1.6)])
    plan.arms[:, index] += up[:, None] * (pose - plan.arms[:, index])
    beat = np.sin(2 * np.pi * (rng.uniform(1.1, 1.8) * time + rng.random()))
    plan.arms[:, index, 3] += rng.uniform(0.25, 0.45) * up**2 * beat
    sign = SIDES[index][1]
    plan.upper[:, 2] += 0.06 * sign * up
    plan.root[:, 1] -= 0.02 * sign * up
    plan.root[:, 2] = _within_reach(subject, plan.root, plan.pelvis, plan.ankles, fps)
    return plan


def idling(rng, subject: SyntheticSubject, time: np.ndarray, fps: float) -> MotionPlan:
    """Stand, shift the weight, look around, put the hands on the hips or hold something."""
    plan = _stand(rng, subject, time, fps)
    size = subject.height / 1.75
    starts, durations = _schedule(rng, time, (0.9, 1.8), (0.8, 2.5))
    events = len(starts)
    shift, turn, look = track(time, starts, durations, rng.uniform(
        [-0.07, -0.25, -0.7], [0.07, 0.25, 0.7], (events + 1, 3))).T
    plan.root[:, 1] += shift * size
    plan.pelvis[:, 2] += 0.8 * shift
    plan.lower[:, 2] -= 1.2 * shift
    plan.lower[:, 0] += 0.5 * turn
    plan.upper[:, 0] += 0.5 * turn
    plan.head[:, 0] += look
    plan.root[:, 2] = _within_reach(subject, plan.root, plan.pelvis, plan.ankles, fps)
    # places of a hand relative to the pelvis: on the hip, at the belt, before the chest
    places = np.array([[0.02, 0.20, 0.08], [0.20, 0.10, 0.10], [0.27, 0.10, 0.32]]) * size
    use = rng.random((2, events + 1)) < 0.45
    use[1] = np.where(rng.random(events + 1) < 0.7, use[0], use[1])
    spot = rng.integers(len(places))
    for index, (_, sign) in enumerate(SIDES):
        plan.hold[:, index] = track(time, starts, durations, use[index])
        plan.hands[:, index] = plan.root + places[spot] * [1, sign, 1]
        plan.hands[:, index] += 0.01 * sway(rng, len(time), fps, (3, ), 0.4)
    return plan


PLANS: Dict[str, Callable] = dict(
    walking=walking, turning=turning, reaching=reaching, sitting=sitting, squatting=squatting,
    waving=waving, idling=idling)
