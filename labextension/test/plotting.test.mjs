// Metrics as plots need them: one axis for all series, looks that differ, zoom, words.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { aligned, around, look, MOST_SERIES, nearest, seriesOf, spoken, timeMarks, timeWords, zoomed } from '../lib/plotting.js';

const points = (...pairs) => pairs.map(([step, value]) => ({ step, value, time: null }));

test('series share one axis of steps, and what a series lacks is no gap', () => {
  const series = seriesOf({ 'rank-1': points([2, 20], [4, 40]), 'rank-0': points([1, 1], [2, 2], [3, 3]) }, ['rank-0', 'rank-1']);
  assert.deepEqual(series.map(one => one.name), ['rank-0', 'rank-1']);
  assert.deepEqual(aligned(series), {
    stepped: true,
    xs: [1, 2, 3, 4],
    values: [[1, 2, 3, undefined], [undefined, 20, undefined, 40]]
  });
});

test('without steps the values are counted; what is no number is a gap; a step said again counts as it was said last', () => {
  const free = aligned([{ name: 'a', index: 0, points: points([null, 5], [null, null], [null, 7]) }]);
  assert.deepEqual(free, { stepped: false, xs: [1, 2, 3], values: [[5, null, 7]] });
  const again = aligned([{ name: 'a', index: 0, points: points([1, 5], [2, 6], [1, 4]) }]);
  assert.deepEqual([again.xs, again.values], [[1, 2], [[4, 6]]]);
});

test('no two lines look alike', () => {
  const looks = new Set(Array.from({ length: MOST_SERIES }, (_, n) => JSON.stringify(look(n))));
  assert.equal(looks.size, MOST_SERIES);
});

test('many points are aligned in no time', () => {
  const many = Array.from({ length: 8 }, (_, n) => ({
    name: `rank-${n}`, index: n, points: Array.from({ length: 10_000 }, (__, step) => ({ step, value: step, time: null }))
  }));
  assert.equal(aligned(many).xs.length, 10_000);
});

test('the nearest place is found', () => {
  assert.equal(nearest([1, 5, 9], 6.9), 1);
  assert.equal(nearest([1, 5, 9], 7.1), 2);
  assert.equal(nearest([1, 5, 9], -3), 0);
  assert.equal(nearest([1, 5, 9], 99), 2);
});

test('zoom stays within the whole, and out of it is all of it', () => {
  const xs = [0, 10, 100];
  assert.deepEqual(zoomed(xs, [0, 100], 50, 0.5), [25, 75]);
  assert.deepEqual(zoomed(xs, [0, 50], 10, 0.5), [5, 30]);
  assert.deepEqual(zoomed(xs, [0, 25], 0, 2), [0, 50]);
  assert.equal(zoomed(xs, [25, 75], 50, 2), null);
  assert.equal(zoomed([], [0, 1], 0, 2), null);
});

test('a place is told in words', () => {
  const series = [{ name: 'worker-0' }, { name: 'worker-1' }];
  assert.equal(spoken(series, [0.31234, null]), 'worker-0 0.3123');
});

test('around one value there is room, and none on the other side of nothing', () => {
  assert.deepEqual([around(0), around(4), around(-4)], [[0, 1], [2, 6], [-6, -2]]);
});

test('an axis of time has its marks at whole times of the clock', () => {
  const noon = new Date(2026, 4, 3, 12, 0, 0).getTime() / 1000;
  for (const [long, step] of [[9, 2], [55, 10], [400, 120], [7000, 1800], [86_400, 21_600], [6 * 86_400, 86_400]]) {
    const marks = timeMarks(noon + 0.3, noon + long, 6);
    assert.ok(marks.length > 1 && marks.length <= 7, `${long} s have ${marks.length} marks`);
    assert.ok(marks.every(one => one >= noon && one <= noon + long));
    assert.equal(marks[1] - marks[0], step, `${long} s`);
    const first = new Date(marks[0] * 1000);
    assert.equal((first.getHours() * 3600 + first.getMinutes() * 60 + first.getSeconds()) % Math.min(step, 86_400), 0);
    assert.equal(new Set(timeWords(marks)).size, marks.length, 'no two marks say the same');
  }
});
