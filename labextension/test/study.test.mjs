// A study's pure parts: frames, axes, brushes, orders.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applyStudy, axesOf, bestFew, compared, history, NO_STUDY, partsOf, placeOn, placesOf, ranks, saidOn, sameAxes, sorted, spanOf, stretch, within } from '../lib/study.js';

const head = {
  name: 's', objective: 'loss', direction: 'minimize', best: 's-1',
  parameters: [
    { name: 'lr', type: 'double', low: 0.0001, high: 1, log: true, values: [] },
    { name: 'opt', type: 'categorical', low: null, high: null, log: false, values: ['adam', 'sgd'] }
  ]
};
const trial = (number, value, lr = '0.01', opt = 'adam', state = 'Succeeded') => ({
  name: `s-${number}`, number, state, values: [lr, opt], value, metrics: [], curve: [], started: 10, finished: 12 + number, message: ''
});
const frame = (trials, more = {}) => ({ type: 'study', id: '1', gone: false, error: '', head, trials, removed: [], total: trials.length, fresh: false, ...more });

test('frames add, change and remove trials, and keep the others as they are', () => {
  const first = applyStudy(NO_STUDY, frame([trial(1, 0.5), trial(0, 0.7)], { fresh: true }));
  assert.deepEqual(first.trials.map(one => one.number), [0, 1]);
  const second = applyStudy(first, frame([trial(1, 0.2), trial(2, null)]));
  assert.deepEqual(second.trials.map(one => one.value), [0.7, 0.2, null]);
  assert.equal(second.trials[0], first.trials[0]);
  const third = applyStudy(second, frame([], { removed: ['s-0'] }));
  assert.deepEqual(third.trials.map(one => one.name), ['s-1', 's-2']);
  const again = applyStudy(third, frame([trial(7, 1)], { fresh: true }));
  assert.deepEqual(again.trials.map(one => one.number), [7]);
  const gone = applyStudy(again, frame([], { head: null, gone: true }));
  assert.ok(gone.gone);
  assert.equal(gone.trials.length, 1, 'what was there is still shown');
});

test('the best so far goes the way of the study', () => {
  const trials = [trial(0, 3), trial(1, null), trial(2, 1), trial(3, 2)];
  assert.deepEqual(history(trials, true).best, [3, 1, 1]);
  assert.deepEqual(history(trials, false).best, [3, 3, 3]);
  assert.deepEqual(history(trials, true).xs, [0, 2, 3]);
  const failed = [trial(0, 1, '0.1', 'adam', 'Failed'), trial(1, 3), trial(2, 2, '0.1', 'adam', 'Running')];
  assert.deepEqual(history(failed, true).best, [null, 3, 3], 'what failed or still runs has no result');
});

test('places on axes, linear, logarithmic and of choices, and back', () => {
  const [lr, opt, loss] = axesOf(head, [trial(0, 2), trial(1, 4)]);
  assert.equal(placeOn(lr, '0.01'), 0.5);
  assert.equal(saidOn(lr, 0.5), '0.01');
  assert.equal(placeOn(opt, 'sgd'), 0.75);
  assert.equal(saidOn(opt, 0.9), 'sgd');
  assert.equal(placeOn(loss, 3), 0.5);
  assert.equal(placeOn(loss, null), null);
  assert.equal(placeOn(opt, 'other'), null);
});

test('a brush leaves the trials within all its ranges', () => {
  const trials = [trial(0, 2, '0.001'), trial(1, 4, '0.1', 'sgd'), trial(2, null, '0.1')];
  const axes = axesOf(head, trials);
  const places = placesOf(axes, trials);
  assert.deepEqual(within(axes, places, {}), [0, 1, 2]);
  assert.deepEqual(within(axes, places, { lr: [0.6, 1] }), [1, 2]);
  assert.deepEqual(within(axes, places, { lr: [0.6, 1], opt: [0, 0.5] }), [2]);
  assert.deepEqual(within(axes, places, { loss: [0, 1] }), [0, 1], 'what has no value is in no range of it');
});

test('ten thousand trials of eight parameters are brushed within a frame', () => {
  const many = { ...head, parameters: Array.from({ length: 8 }, (_, n) => ({ name: `p${n}`, low: 0, high: 1, log: false, values: [] })) };
  const trials = Array.from({ length: 10_000 }, (_, n) => ({ ...trial(n, n), values: Array.from({ length: 8 }, (_, p) => String((n * (p + 3)) % 1000 / 1000)) }));
  const axes = axesOf(many, trials);
  const places = placesOf(axes, trials);
  const rows = within(axes, places, { p0: [0.2, 0.6], p7: [0.1, 0.9], loss: [0, 0.5] });
  assert.ok(rows.length > 0 && rows.length < 5_001);
  assert.equal(ranks(trials, true, 6)[0], 0);
  assert.equal(ranks(trials, false, 6)[0], 5);
});

test('orders of the table; what has no value stands at the end', () => {
  const trials = [trial(0, 3, '0.1'), trial(1, null, '0.01'), trial(2, 1, '0.5', 'sgd')];
  const numbers = (by, down = false) => sorted(trials, { by, down }, 100).map(one => one.number);
  assert.deepEqual(numbers('value'), [2, 0, 1]);
  assert.deepEqual(numbers('value', true), [0, 2, 1]);
  assert.deepEqual(numbers('p0'), [1, 0, 2]);
  assert.deepEqual(numbers('p1', true), [2, 0, 1]);
  assert.deepEqual(numbers('took', true), [2, 1, 0]);
});

test('when a trial waited and ran, as far as somebody wrote it down', () => {
  const at = (state, more) => ({ ...trial(0, null, '0.1', 'adam', state), started: 10, began: null, finished: null, ...more });
  const cases = [
    ['waits', at('Pending'), [10, null, 30], [20, null]],
    ['runs', at('Running', { began: 14 }), [10, 14, 30], [4, 16]],
    ['ended', at('Succeeded', { began: 14, finished: 20 }), [10, 14, 20], [4, 6]],
    ['ended, and nobody knows when it began', at('Failed', { finished: 20 }), [10, null, 20], [null, null]],
    ['of a notebook that knows no beginnings', at('Succeeded', { began: undefined, finished: 20 }), [10, null, 20], [null, null]],
    ['by clocks that differ', at('Succeeded', { began: 8, finished: 20 }), [10, 10, 20], [0, 10]],
    ['ended before it was begun', at('Killed', { finished: null }), [10, null, 10], [null, null]]
  ];
  for (const [name, one, span, [waited, ran]] of cases) {
    const { from, began, to } = spanOf(one, 30);
    assert.deepEqual([from, began, to], span, name);
    assert.deepEqual(partsOf(one, 30), { waited, ran }, name);
  }
  assert.equal(spanOf(at('Pending', { started: null }), 30), null);
  const [low, high] = stretch(cases.map(([, one]) => one), 30);
  assert.ok(low < 10 && low > 9 && high > 30 && high < 31);
  assert.deepEqual(stretch([], 30), [29, 30], 'an axis of no trials is one all the same');
});

test('trials beside one another: what differs, what does not, and the best few', () => {
  const some = [trial(0, 0.7, '0.1'), trial(1, 0.5, '0.10'), trial(2, 0.9, '0.1', 'adam', 'Failed')];
  assert.deepEqual(compared(head, some), { differ: [], same: [{ name: 'lr', value: '0.1' }, { name: 'opt', value: 'adam' }] });
  assert.deepEqual(compared(head, [...some, trial(3, 0.2, '0.1', 'sgd')]).differ, [{ name: 'opt', values: ['adam', 'adam', 'adam', 'sgd'] }]);
  assert.deepEqual(bestFew(head, some, 5).map(one => one.number), [1, 0], 'what failed is no result');
  assert.deepEqual(bestFew({ ...head, direction: 'maximize' }, some, 1).map(one => one.number), [0]);
  const many = [5, 3, 9, 3, 1, 7, 2, 3].map((value, n) => ({ ...some[0], number: n, value }));
  assert.deepEqual(bestFew(head, many, 4).map(one => one.number), [4, 6, 1, 3], 'of equal ones the earlier');
});

test('axes stay the same until a value lies beyond them', () => {
  const axes = axesOf(head, [trial(0, 0.5), trial(1, 0.9)]);
  assert.equal(sameAxes(axes, axesOf(head, [trial(0, 0.5), trial(1, 0.9), trial(2, 0.7)])), axes);
  assert.notEqual(sameAxes(axes, axesOf(head, [trial(0, 0.5), trial(1, 1.9)])), axes);
  const again = trial(2, 0.7);
  assert.deepEqual([...placesOf(axes, [again])], [...placesOf(axes, [again])]);
  assert.notDeepEqual([...placesOf(axes, [again])], [...placesOf(axes, [{ ...again, value: 0.9 }])], 'a trial that changed is placed anew');
});
