// The buffer of a log: lines by number, by replica, by words; what is let go of; texts cut at what was looked for.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cut, Finder, LogBuffer } from '../lib/loglines.js';

const lines = (count, from = 0) =>
  Array.from({ length: count }, (_, n) => ({ r: `worker-${(from + n) % 2}`, s: `line ${from + n}`, t: null }));
const filled = (count, most) => {
  const buffer = new LogBuffer(most);
  for (let n = 0; n < count; n += 1000) {
    buffer.append(lines(Math.min(1000, count - n), n));
  }
  return buffer;
};

test('lines keep their numbers, in all rows and in those of a replica', () => {
  const buffer = filled(10_000);
  assert.equal(buffer.at(9_999).s, 'line 9999');
  assert.equal(buffer.at(10_000), undefined);
  const rows = buffer.rows('worker-1');
  assert.equal(rows.size, 5_000);
  assert.equal(buffer.at(rows.number(7)).s, 'line 15');
  assert.equal(rows.index(15), 7);
  assert.equal(rows.index(14), 7, 'the next that is shown');
  assert.deepEqual(buffer.replicas, ['worker-0', 'worker-1']);
  assert.equal(buffer.rows('nobody').size, 0);
});

test('the beginning is let go of, and numbers stay', () => {
  const buffer = filled(30_000, 10_000);
  assert.ok(buffer.first > 0);
  assert.ok(buffer.end - buffer.first >= 10_000 && buffer.end - buffer.first < 15_000);
  assert.equal(buffer.at(buffer.first - 1), undefined);
  assert.equal(buffer.at(29_999).s, 'line 29999');
  const rows = buffer.rows('worker-0');
  assert.ok(rows.number(0) >= buffer.first);
  assert.equal(buffer.rows('').number(0), buffer.first);
});

test('what is looked for is found once, a slice at a time, also in what comes later', () => {
  const buffer = filled(3_000);
  const finder = new Finder(buffer, 'LINE 29', '');
  assert.equal(finder.advance(100), false);
  assert.deepEqual(finder.hits, [29]);
  while (!finder.advance(500));
  assert.equal(finder.hits.length, 1 + 10 + 100);
  buffer.append([{ r: 'worker-0', s: 'line 29 \u001b[1magain\u001b[0m', t: null }]);
  assert.equal(finder.advance(500), true);
  assert.equal(finder.hits.at(-1), 3_000);
  const coloured = new Finder(buffer, '29 again', '');
  coloured.advance(Infinity);
  assert.deepEqual(coloured.hits, [3_000], 'colours are no part of the text');
});

test('hits are of the replica that is shown, and go with their lines', () => {
  const buffer = filled(1_000, 4_096);
  const finder = new Finder(buffer, 'line', 'worker-1');
  finder.advance(Infinity);
  assert.equal(finder.hits.length, 500);
  for (let n = 1_000; n < 20_000; n += 1_000) {
    buffer.append(lines(1_000, n));
  }
  finder.advance(Infinity);
  assert.ok(finder.hits[0] >= buffer.first);
  assert.equal(finder.hits.length, buffer.rows('worker-1').size);
});

test('next and previous go around', () => {
  const buffer = new LogBuffer();
  buffer.append(['a', 'x', 'b', 'x', 'c'].map(s => ({ r: 'worker-0', s, t: null })));
  const finder = new Finder(buffer, 'x', '');
  assert.equal(finder.step(null, 1), null);
  finder.advance(10);
  assert.equal(finder.step(null, 1), 1);
  assert.equal(finder.step(1, 1), 3);
  assert.equal(finder.step(3, 1), 1);
  assert.equal(finder.step(null, -1), 3);
  assert.equal(finder.step(1, -1), 3);
  assert.equal(finder.step(2, -1), 1);
});

test('a text is cut at each place of the words', () => {
  assert.deepEqual(cut('an Error is an error', 'error'), ['an ', 'Error', ' is an ', 'error', '']);
  assert.deepEqual(cut('nothing', ''), ['nothing']);
  assert.deepEqual(cut('İİ error', 'error'), ['İİ error']);
});
