// Graphs that are edited: every deed gives another draft, and none of them leaves a unit behind or twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as drafts from '../lib/drafts.js';

const unit = (id, type, children = [], more = {}) => ({ id, name: id, type, by: '', settings: {}, model: `m-${id}`, unit: '', called: id.toUpperCase(), kept: true, children, ...more });
const model = id => unit(id, 'MODEL');
const route = (id, children, by = 'thompson', settings = {}) => unit(id, 'ROUTER', children, { by, settings, model: '' });
const part = { model: 'm-new', unit: '', called: 'New', kind: 'sklearn', type: 'MODEL', endpoint: '', when: 0 };
const said = root => (root.children.length ? `${root.id}(${root.children.map(said).join(' ')})` : root.id);
const TREE = () => unit('scale', 'TRANSFORMER', [route('r', [model('a'), route('s', [model('b'), model('c')])])]);

test('a router goes above a unit, with a kept model as its other branch', () => {
  const found = drafts.wrapped(model('a'), 'a', 'ROUTER', 'random', part);
  assert.equal(found.type, 'ROUTER');
  assert.deepEqual(found.children.map(one => one.called), ['A', 'New']);
  assert.equal(new Set(drafts.walk(found).map(one => one.id)).size, 3);
  assert.equal(drafts.wrapped(TREE(), 'b', 'COMBINER', 'mean', null).children[0].children[1].children[0].children[0].id, 'b');
});

test('models are added, put before others, and replaced where they stand', () => {
  const more = drafts.added(TREE(), 's', part);
  assert.equal(drafts.unitOf(more, 's').children.length, 3);
  assert.equal(said(drafts.replaced(TREE(), 'scale', part)), 'scale(r(a s(b c)))');
  assert.equal(drafts.replaced(TREE(), 'scale', part).called, 'New');
  const front = drafts.before(model('a'), 'a', part);
  assert.deepEqual([front.called, said(front.children[0])], ['New', 'a']);
});

test('what a deleted unit led to takes its place, and a router of one branch goes', () => {
  assert.equal(said(drafts.without(TREE(), 'scale')), 'r(a s(b c))');
  assert.equal(said(drafts.without(TREE(), 'b')), 'scale(r(a c))');
  assert.equal(said(drafts.without(TREE(), 'a')), 'scale(s(b c))');
  assert.equal(said(drafts.without(TREE(), 's')), 'scale(r(a b))');
  assert.equal(drafts.without(model('a'), 'a'), null);
});

test('a unit is moved into a router or to the place of another, never below itself', () => {
  assert.equal(said(drafts.moved(TREE(), 'a', 's')), 'scale(s(b c a))');
  assert.equal(said(drafts.moved(TREE(), 'b', 'r')), 'scale(r(a c b))');
  assert.equal(said(drafts.moved(TREE(), 'a', 'c')), 'scale(r(c s(b a)))');
  assert.equal(said(drafts.moved(TREE(), 's', 'b')), said(TREE()));
  assert.equal(said(drafts.moved(TREE(), 'r', 'scale')), said(TREE()));
  assert.deepEqual(drafts.placesFor(TREE(), 'b'), [{ id: 'r', how: 'into' }, { id: 'a', how: 'exchange' }, { id: 'c', how: 'exchange' }]);
  for (const from of ['r', 'a', 's', 'b', 'c']) {
    for (const { id } of drafts.placesFor(TREE(), from)) {
      const ids = drafts.walk(drafts.moved(TREE(), from, id)).map(one => one.id);
      assert.equal(new Set(ids).size, ids.length, `${from} to ${id}`);
      assert.ok(['scale', 'a', 'b', 'c'].every(one => ids.includes(one)), `${from} to ${id}: ${ids}`);
    }
  }
});

test('weights go with their branches', () => {
  const root = route('r', [model('a'), model('b')], 'mean', { weights: [2, 5] });
  assert.deepEqual(drafts.added(root, 'r', part).settings.weights, [2, 5, 1]);
  assert.deepEqual(drafts.shifted(root, 'b', -1).settings.weights, [5, 2]);
  assert.deepEqual(said(drafts.shifted(root, 'a', -1)), said(root));
  assert.deepEqual(drafts.weighted(root, 'r', 1, 7).settings.weights, [2, 7]);
  const chance = route('r', [model('a'), model('b')], 'random');
  assert.deepEqual(drafts.weightsOf(chance), [50, 50]);
  assert.deepEqual(drafts.weightsOf(drafts.weighted(chance, 'r', 0, 80)), [80, 20]);
});

test('another way to choose keeps only the settings that it knows', () => {
  const root = route('r', [model('a'), model('b')], 'epsilon-greedy', { epsilon: 0.2, seed: 1 });
  const found = drafts.chosen(root, 'r', 'thompson', ['seed']);
  assert.deepEqual([found.by, found.settings], ['thompson', { seed: 1 }]);
  assert.deepEqual(drafts.set(root, 'r', 'epsilon', '').settings, { seed: 1 });
});

test('each unit of a draft has a place in its drawing', () => {
  const places = drafts.idsByPlace(TREE());
  assert.deepEqual([...places], [['', 'scale'], ['/0', 'r'], ['/0/0', 'a'], ['/0/1', 's'], ['/0/1/0', 'b'], ['/0/1/1', 'c']]);
  assert.equal(drafts.asVersion(TREE()).units.children[0].name, 'thompson');
});
