// Lines that programs have coloured: what they say is what it was, and how they look is the theme's.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cutAt, parted } from '../lib/ansi.js';
import { clean } from '../lib/format.js';

const looks = line => parted(line).map(({ text, look }) => [text, look.replaceAll('kfx-ansi-', '')]);

test('colours and weights last until they are taken back', () => {
  assert.deepEqual(looks('\u001b[1;31merror\u001b[0m: \u001b[33mcareful\u001b[39m now'), [
    ['error', 'red bold'], [': ', ''], ['careful', 'yellow'], [' now', '']
  ]);
  assert.deepEqual(looks('\u001b[1m\u001b[4mboth\u001b[22mone\u001b[24mnone'), [['both', 'bold underline'], ['one', 'underline'], ['none', '']]);
  assert.deepEqual(looks('\u001b[92mbright\u001b[m plain'), [['bright', 'green'], [' plain', '']]);
});

test('of 256 colours the first sixteen are the theme’s, and a colour by its parts is none', () => {
  assert.deepEqual(looks('\u001b[38;5;9mred\u001b[38;5;200mfree\u001b[38;2;1;2;3mtrue\u001b[48;5;1;1mbold'), [
    ['red', 'red'], ['free', ''], ['true', ''], ['bold', 'bold']
  ]);
});

test('what is said is what clean says, and nothing else of an escape is left', () => {
  for (const line of ['plain', '\u001b[31mred\u001b[0m\u0007 \u001b]8;;http://x\u0007link', 'a\tb', '\u001b[2Kgone\u001b[1A', '\u001b[31']) {
    assert.equal(parted(line).map(({ text }) => text).join(''), clean(line));
  }
});

test('parts are cut where words are marked', () => {
  const cut = cutAt([{ text: 'abcd', look: 'x' }, { text: 'ef', look: '' }], [0, 1, 4, 1]);
  assert.deepEqual(cut.map(({ text, look, place }) => [text, look, place]), [['a', 'x', 1], ['bcd', 'x', 2], ['e', '', 2], ['f', '', 3]]);
});
