// Metrics as plots need them: one axis for all series, looks that differ, zoom, words.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { aligned, look, MOST_SERIES, nearest, seriesOf, spoken, zoomed } from '../lib/plotting.js';

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
