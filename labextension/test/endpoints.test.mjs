// Endpoints as they are shown: shares that sum to 100, measures over time, and a graph whose units do not overlap.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applyEndpoint, barsOf, branchPlotsOf, drawn, exampleOf, filteredEndpoints, NO_ENDPOINT, NODE, plotsOf, rebalanced, routesOf, sameShares, sharesOf, sharesText, shortName } from '../lib/endpoints.js';

const version = (name, traffic, more = {}) => ({ name, traffic, mirror: null, units: { name: `iris-${name}`, type: 'MODEL', children: [] }, ...more });

test('shares sum to 100 whatever is set, and the others keep their proportions', () => {
  assert.deepEqual(rebalanced({ v1: 90, v2: 10 }, 'v2', 25), { v1: 75, v2: 25 });
  assert.deepEqual(rebalanced({ a: 50, b: 30, c: 20 }, 'a', 0), { a: 0, b: 60, c: 40 });
  for (const value of [-5, 0, 1, 33, 50, 67, 99, 100, 140]) {
    const found = rebalanced({ a: 34, b: 33, c: 33 }, 'b', value);
    assert.equal(Object.values(found).reduce((x, y) => x + y), 100, `${value}`);
    assert.ok(Object.values(found).every(one => Number.isInteger(one) && one >= 0));
  }
  assert.deepEqual(rebalanced({ v1: 100 }, 'v1', 20), { v1: 100 }, 'one alone answers all');
});

test('a slider that took everything gives it back as it was', () => {
  const base = { a: 20, b: 60, c: 20 };
  const all = rebalanced(base, 'a', 100, base);
  assert.deepEqual(all, { a: 100, b: 0, c: 0 });
  assert.deepEqual(rebalanced(all, 'a', 20, base), base);
  assert.deepEqual(rebalanced({ a: 100, b: 0, c: 0 }, 'a', 50), { a: 50, b: 25, c: 25 });
});

test('mirrors answer nothing', () => {
  const versions = [version('v1', 100), version('v2', 0, { mirror: 20 })];
  assert.deepEqual(sharesOf(versions), { v1: 100 });
  assert.ok(sameShares({ v1: 100 }, { v1: 100, v2: 0 }));
  assert.equal(sharesText([{ name: 'v1', traffic: 90, mirror: false }, { name: 'v2', traffic: 10, mirror: false }]), 'v1 90 %, v2 10 %');
});

test('samples are added up until they begin anew', () => {
  const frame = (ats, fresh) => ({ view: null, totals: {}, samples: ats.map(at => ({ at, versions: {} })), fresh, gone: false, error: '' });
  const first = applyEndpoint(NO_ENDPOINT, frame([1, 2], true));
  const second = applyEndpoint(first, frame([3], false));
  assert.deepEqual(second.samples.map(one => one.at), [1, 2, 3]);
  assert.deepEqual(applyEndpoint(second, frame([9], true)).samples.map(one => one.at), [9]);
});

test('findings stay until there are newer ones, and go with their monitor', () => {
  const frame = more => ({ view: null, totals: {}, samples: [], fresh: false, gone: false, error: '', monitored: true, findings: null, unwatched: '', ...more });
  const first = applyEndpoint(NO_ENDPOINT, frame({ findings: { rows: 5 } }));
  assert.equal(applyEndpoint(first, frame({})).findings.rows, 5);
  assert.equal(applyEndpoint(first, frame({ unwatched: 'it is away' })).unwatched, 'it is away');
  assert.equal(applyEndpoint(first, frame({ monitored: false })).findings, null);
});

test('two distributions are bars of bins or of categories', () => {
  const numbers = { edges: [0, 1, 2], expected: [0.5, 0.5], seen: [0.25, 0.75] };
  assert.deepEqual(barsOf(numbers).map(one => one.label), ['0 – 1', '1 – 2']);
  assert.equal(barsOf(numbers)[1].seen, 1);
  assert.deepEqual(barsOf({ edges: ['f', 'm'], expected: [], seen: [0.2, 0.4] }).map(one => [one.label, one.seen]), [['f', 0.5], ['m', 1]]);
  assert.deepEqual(barsOf({ edges: [], expected: [], seen: [] }), []);
});

test('measures are lines of versions over the time of the clock; without requests there is no latency, without errors no plot of them', () => {
  const samples = [
    { at: 100, versions: { v1: { rate: 5, errors: 1, p50: 0.002, p95: 0.01 } } },
    { at: 102, versions: { v1: { rate: 0, errors: 0, p50: null, p95: null }, v2: { rate: 1, errors: 0, p50: 0.5, p95: 0.5 } } }
  ];
  const titles = { rate: 'rate', errors: 'errors', p50: 'p50', p95: 'p95', reward: 'reward' };
  const { metrics } = plotsOf(samples, [version('v1', 90), version('v2', 10)], titles);
  assert.deepEqual(metrics.rate.v1.map(one => [one.step, one.value]), [[100, 5], [102, 0]]);
  assert.deepEqual(metrics.rate.v2.map(one => [one.step, one.value]), [[102, 1]]);
  assert.deepEqual(metrics.p50.v1.map(one => one.value), [2]);
  assert.ok('errors' in metrics);
  assert.ok(!('errors' in plotsOf(samples.slice(1), [version('v1', 90)], titles).metrics));
});

test('rewards are lines of versions and of branches; where nobody told any there are no plots of them', () => {
  const moment = (reward, branches = {}) => ({ rate: 1, errors: 0, p50: null, p95: null, reward, branches });
  const samples = [
    { at: 100, versions: { b: moment(null, { v1: { rate: 2, reward: null }, v2: { rate: 0, reward: null } }) } },
    { at: 102, versions: { b: moment(0.5, { v1: { rate: 1, reward: 0.25 }, v2: { rate: 3, reward: 1 } }) } }
  ];
  const titles = { rate: 'rate', errors: 'errors', p50: 'p50', p95: 'p95', reward: 'reward' };
  assert.deepEqual(plotsOf(samples, [version('b', 100)], titles).metrics.reward.b.map(one => one.value), [0.5]);
  const { metrics } = branchPlotsOf(samples, { chosen: 'chosen', reward: 'reward' });
  assert.deepEqual(metrics.chosen.v2.map(one => [one.step, one.value]), [[100, 0], [102, 3]]);
  assert.deepEqual(metrics.reward.v1.map(one => one.value), [0.25]);
  const first = branchPlotsOf([{ at: 1, versions: { b: moment(null, { v1: { rate: 2, reward: 1 } }) } }], { chosen: 'chosen', reward: 'reward' });
  assert.deepEqual(Object.keys(first.metrics), ['chosen (v1)', 'reward (v1)']);
  const named = branchPlotsOf([{ at: 1, versions: { v2: moment(null, { 'iris-v2-a': { rate: 2, reward: 1 }, b: { rate: 1, reward: 1 } }) } }], { chosen: 'chosen', reward: 'reward' }, 'iris');
  assert.deepEqual(Object.keys(named.metrics.chosen), ['a', 'b']);
  const quiet = [{ at: 1, versions: { v1: moment(null) } }];
  assert.ok(!('reward' in plotsOf(quiet, [version('v1', 100)], titles).metrics));
  assert.equal(branchPlotsOf(quiet, { chosen: 'chosen', reward: 'reward' }), null);
});

test('rows are found by each word, and the request to try is that of the version that answers most', () => {
  const row = (name, state, versions) => ({ name, namespace: 'default', state, protocol: 'seldon', message: '', versions: versions.map(one => ({ name: one })) });
  const rows = [row('iris', 'Ready', ['v1', 'v2']), row('digits', 'Failed', ['v1'])];
  assert.deepEqual(filteredEndpoints(rows, 'V2 iris').map(one => one.name), ['iris']);
  assert.deepEqual(filteredEndpoints(rows, 'failed').map(one => one.name), ['digits']);
  assert.equal(filteredEndpoints(rows, ' ').length, 2);
  assert.equal(exampleOf([version('v1', 10, { example: '[[1]]' }), version('v2', 90, { example: '[[2]]' })]), '[[2]]');
});

test('the units of a graph stand in columns and do not overlap', () => {
  const leaf = name => ({ name, type: 'MODEL', children: [] });
  const units = { name: 'scale', type: 'TRANSFORMER', children: [{ name: 'split', type: 'ROUTER', children: [leaf('a'), leaf('b'), leaf('c')] }] };
  const picture = drawn([version('v1', 90, { units }), version('v2', 0)]);
  assert.equal(picture.units.length, 7);
  assert.equal(picture.edges.length, 6);
  for (const one of picture.units) {
    for (const other of picture.units) {
      assert.ok(one === other || one.x !== other.x || Math.abs(one.y - other.y) >= NODE.height, `${one.name} ${other.name}`);
    }
    assert.ok(one.x + NODE.width <= picture.width && one.y + NODE.height <= picture.height);
  }
  assert.deepEqual(picture.edges.filter(one => one.label).map(one => [one.to.name, one.label, one.faint]), [['scale', '90 %', false], ['iris-v2', '0 %', true]]);
});

test('units are called by their own names, whole where those would not be theirs alone', () => {
  const told = [
    ['iris-v1', 'iris', 'v1', 'v1'],
    ['iris-v3-twice', 'iris', 'v3', 'twice'],
    ['iris-v3-v1', 'iris', 'v3', 'v1'],
    ['iris-v30', 'iris', 'v3', 'iris-v30'],
    ['classifier', 'iris', 'v1', 'classifier'],
    ['iris-v1-', 'iris', 'v1', 'iris-v1-']
  ];
  for (const [unit, endpoint, name, short] of told) {
    assert.equal(shortName(unit, endpoint, name), short);
  }
  const [unit] = drawn([version('v1', 100)], 'iris').units;
  assert.deepEqual([unit.name, unit.whole], ['v1', 'iris-v1']);
});

test('the way of a request is told by the names of branches, and only where there were several', () => {
  const model = name => ({ name, type: 'MODEL', children: [] });
  const units = { name: 'iris-v2-bandit', type: 'ROUTER', children: [model('iris-v2-twice'), model('iris-v2-thrice')] };
  const versions = [version('v1', 50), version('v2', 50, { units })];
  assert.deepEqual(routesOf({ 'iris-v2-bandit': 1, 'iris-v2-thrice': -1 }, versions, 'iris'), ['bandit → thrice']);
  assert.deepEqual(routesOf({ 'iris-v1': -1 }, versions, 'iris'), []);
  assert.deepEqual(routesOf({ 'iris-v9-gone': 0 }, versions, 'iris'), ['iris-v9-gone → 0']);
});
