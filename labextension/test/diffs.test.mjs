import assert from 'node:assert/strict';
import test from 'node:test';

import { counted, folded } from '../lib/diffs.js';

const lines = (sign, count) => Array.from({ length: count }, (_, n) => `${sign}line ${n}`);
const shape = text => folded(text).map(one => `${one.sign}${one.lines.length}${one.folded ? ' folded' : ''}`);

test('a short difference is shown as it is', () => {
  const text = ['--- as it is', '+++ as it would be', '@@ -1,3 +1,3 @@', ' a', '-b', '+c', ' d'].join('\n');
  assert.deepEqual(shape(text), ['@3', ' 1', '-1', '+1', ' 1']);
  assert.deepEqual(counted(text), { more: 1, less: 1 });
});

test('what stays and what is long is folded, and nothing is lost', () => {
  const text = [...lines(' ', 8), ...lines('+', 200), ...lines(' ', 5), ...lines('-', 30)].join('\n');
  assert.deepEqual(shape(text), [' 2', ' 4 folded', ' 2', '+18', '+182 folded', ' 5', '-30']);
  assert.equal(folded(text).flatMap(one => one.lines).join('\n'), text);
  assert.deepEqual(counted(text), { more: 200, less: 30 });
});
