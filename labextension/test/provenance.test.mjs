// The record of what a job was made of, and its replicas by role.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { replicaRoles } from '../lib/model.js';
import { factsOf } from '../lib/provenance.js';

test('the record is read from the code to the results, and what is not known comes last', () => {
  const facts = factsOf({ zebra: 1, output: 'out', params: { lr: 0.1, tags: ['a', 'b'] }, code: 'abc', packages: {}, files: ['x.py'], main: 'x.py' });
  assert.deepEqual(facts.map(fact => fact.name), ['code', 'main', 'params', 'output', 'zebra']);
  assert.deepEqual(facts[2], { name: 'params', text: '', parts: [['lr', '0.1'], ['tags', 'a, b']] });
  assert.equal(facts[4].text, '1');
});

test('several files are told', () => {
  assert.equal(factsOf({ files: ['a.py', 'b.py'], main: 'a.py' }).find(fact => fact.name === 'files').text, 'a.py, b.py');
});

test('replicas stand by role and index', () => {
  const one = (role, index, phase) => ({ role, index, phase });
  const roles = replicaRoles([one('worker', 10, 'Running'), one('master', 0, 'Running'), one('worker', 2, 'Failed'), one('worker', 1, 'Running')]);
  assert.deepEqual(roles.map(({ role, counts }) => [role, counts]), [['worker', [['Running', 2], ['Failed', 1]]], ['master', [['Running', 1]]]]);
  assert.deepEqual(roles[0].members.map(({ index }) => index), [1, 2, 10]);
});
