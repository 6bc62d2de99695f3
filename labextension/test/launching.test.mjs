// The launch form as values: what it begins with, and what it asks for.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formOf, guess, NO_SOURCE, requestOf, sourceOf } from '../lib/launching.js';

const FILLED = {
  framework: 'tensorflow', code: 'x = 1\n', filename: 'train.ipynb', namespace: 'team', workers: null,
  replicas: { chief: 1, worker: 2 }, cpu: '', memory: '', gpu: 0, profile: '', nproc: 1, env: { A: '1' }, args: ['two words'],
  params: { lr: 0.1, tag: 'a' }, image: '', install: [], volumes: []
};

test('workers are asked for, unless there are counts by role', () => {
  const form = formOf(NO_SOURCE, '0123456789ab', 'print(1)');
  assert.equal(requestOf(form, NO_SOURCE).workers, 2);
  const asked = requestOf({ ...form, roles: { chief: '1', ps: '', worker: '3' } }, NO_SOURCE);
  assert.deepEqual([asked.workers, asked.replicas], [null, { chief: 1, worker: 3 }]);
});

test('a job that is changed begins with what it was made of', () => {
  const source = sourceOf('digits', FILLED);
  const asked = requestOf(formOf(source, '0123456789ab', ''), source);
  for (const name of ['framework', 'code', 'filename', 'workers', 'replicas', 'params', 'env', 'args', 'nproc', 'gpu']) {
    assert.deepEqual(asked[name], FILLED[name], name);
  }
});

test('the framework is that of the code', () => {
  assert.equal(guess('import os\nfrom keras import layers'), 'tensorflow');
  assert.equal(guess('import os'), 'pytorch');
});
