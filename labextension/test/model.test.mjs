// The pure parts, as node runs them: formats, the reduction of frames, notebooks as programs. Needs build:lib.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { age, clean, duration, hardware, number } from '../lib/format.js';
import { applyJob, applyRows, elapsed, NO_ROWS, plotted, speakers } from '../lib/model.js';
import { numberOf } from '../lib/notebooks.js';

const row = (uid, phase = 'Running') => ({ uid, phase, name: uid });
const frame = (items, rows) => ({
  type: 'rows', id: '1', total: 2, matched: 2, size: items.length, offset: 0, items, rows, counts: {}, namespaces: []
});

test('durations read as on the Python side', () => {
  assert.equal(duration(8), '8s');
  assert.equal(duration(65), '1m 05s');
  assert.equal(duration(7380), '2h 03m');
  assert.equal(duration(349200), '4d 01h');
  assert.equal(duration(null), '');
  assert.equal(age(7200), '2h');
});

test('numbers have four significant digits', () => {
  assert.equal(number(0.41234), '0.4123');
  assert.equal(number(1.2e-5), '1.2e-5');
  assert.equal(number(null), 'nan');
  assert.equal(number(12), '12');
});

test('hardware names what was asked for', () => {
  assert.equal(hardware(2, 2 ** 30, 0), '2 CPU · 1 GiB');
  assert.equal(hardware(0, 0, 0), '');
});

test('a line of a log is harmless', () => {
  assert.equal(clean('\u001b[31mred\u001b[0m\u0007 \u001b]8;;http://x\u0007link'), 'red link');
});

test('rows that did not change stay the same objects', () => {
  const first = applyRows(NO_ROWS, frame(['a', 'b'], [row('a'), row('b')]));
  const second = applyRows(first, frame(['b', 'a'], [row('a', 'Failed')]));
  assert.equal(second.items[0], first.items[1]);
  assert.equal(second.items[1].phase, 'Failed');
});

test('heads of groups are items', () => {
  const group = { namespace: 'x', count: 1, running: 0, failed: 0, collapsed: false };
  assert.deepEqual(applyRows(NO_ROWS, frame([group, 'a'], [row('a')])).items[0], group);
});

test('a job is what was said of it so far', () => {
  const view = { ref: { name: 'digits' }, replicas: [], log: [], metrics: {}, seen: 1, status: { phase: 'Running' } };
  const first = applyJob({ view: null, gone: false, error: '' }, { gone: false, error: '', view });
  const second = applyJob(first, { gone: true, error: '', view: { seen: 2 } });
  assert.equal(second.view.ref.name, 'digits');
  assert.equal(second.view.seen, 2);
  assert.ok(second.gone);
  assert.equal(applyJob({ view: null, gone: false, error: '' }, { gone: true, error: '', view: {} }).view, null);
});

test('who speaks gets the first colours', () => {
  const view = {
    replicas: [{ role: 'launcher', index: 0 }, { role: 'worker', index: 0 }],
    log: [{ replica: 'rank-1', text: '' }, { replica: 'worker-0', text: '' }],
    metrics: { loss: { 'rank-0': [{ value: 1 }] }, progress: { 'rank-0': [{ value: 1 }] } }
  };
  assert.deepEqual(speakers(view), ['worker-0', 'rank-0', 'rank-1', 'launcher-0']);
  assert.deepEqual(plotted(view).map(([name]) => name), ['loss']);
});

test('time runs until the end', () => {
  assert.equal(elapsed({ status: { started: 10, created: 5, finished: null } }, 30), 20);
  assert.equal(elapsed({ status: { started: 10, created: 5, finished: 15 } }, 30), 5);
  assert.equal(elapsed({ status: { started: null, created: null, finished: null } }, 30), null);
});

test('a cell has the number that running all would give it', () => {
  assert.deepEqual([0, 1, 3].map(place => numberOf(['x', 'y', '  ', 'z'], place)), [1, 2, 3]);
});
