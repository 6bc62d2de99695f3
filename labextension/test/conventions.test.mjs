// What no reader of one file sees: each colour is the theme's, and each word that is shown goes through the translator.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const HERE = fileURLToPath(new URL('..', import.meta.url));
const LETTERS = /\p{L}{2}/u;

function files(folder, ...endings) {
  return readdirSync(join(HERE, folder), { recursive: true })
    .filter(name => endings.some(ending => name.endsWith(ending)))
    .map(name => join(HERE, folder, name));
}

// ------------------------------------------------------------------------------------------------------- colours

const FUNCTIONS = /#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|hwb|lab|lch|oklab|oklch|color)\(/i;
// Of the 148 names those that somebody would type.
const NAMED =
  /(?<![\w-])(?:aqua|black|blue|brown|coral|crimson|cyan|fuchsia|gold|gr[ae]y|green|indigo|khaki|lime|magenta|maroon|navy|olive|orange|orchid|pink|plum|purple|red|salmon|silver|tan|teal|tomato|turquoise|violet|white|yellow|(?:light|dark|medium|pale|deep)[a-z]+)(?![\w-])/i;

function ownColours(text) {
  return text.split('\n').flatMap((line, n) => {
    const found = FUNCTIONS.exec(line) ?? NAMED.exec(line.replace(/var\([^)]*\)/g, '').replace(/^[^:{]*[:{]/, ''));
    return found ? [`line ${n + 1}: ${found[0]}`] : [];
  });
}

test('a colour of our own is found', () => {
  for (const line of ['a { color: #fff }', 'a { color: var(--jp-x, #123456) }', '  background: rgb(1 2 3);', '  color: white;']) {
    assert.equal(ownColours(line).length, 1, line);
  }
  for (const line of ['  color: var(--jp-red);', '  color: color-mix(in srgb, var(--kfx-c) 5%, transparent);', '  white-space: pre;']) {
    assert.deepEqual(ownColours(line), [], line);
  }
});

test('the style has no colour but the theme’s', () => {
  for (const file of files('style', '.css')) {
    const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\//g, comment => comment.replace(/[^\n]/g, ''));
    assert.deepEqual(ownColours(text), [], relative(HERE, file));
  }
});

test('each variable that the style takes from the theme is one that every theme has', () => {
  const style = files('style', '.css').map(file => readFileSync(file, 'utf8')).join('\n');
  const source = files('src', '.ts', '.tsx').map(file => readFileSync(file, 'utf8')).join('\n');
  const used = new Set([...(style + source).matchAll(/--jp-[\w-]*color[\w-]*/g)].map(([name]) => name));
  const themes = join(HERE, '..', '.venv', 'share', 'jupyter', 'lab', 'themes', '@jupyterlab');
  for (const theme of readdirSync(themes)) {
    const has = readFileSync(join(themes, theme, 'index.css'), 'utf8');
    assert.deepEqual([...used].filter(name => !has.includes(`${name}:`)), [], theme);
  }
});

// --------------------------------------------------------------------------------------------------------- words

/** Said in code or in units, and so the same in every language. */
const CODE = new Set([
  '4Gi',
  'default',
  'cell', // of the name under which the server knows a cell
  ...['GiB', 'MiB', 'GPU', 'CPU', 'ms'],
  '%%kf_train pytorch -n 2',
  '%%kf_tune loss --trials 12',
  '%kf_serve model --name iris',
  'einops scikit-learn==1.6',
  '--epochs 10',
  'CLAIM:/PATH CLAIM:/PATH:ro',
  'print(f"epoch={epoch} loss={loss:.4f}")',
  'ArrowLeft ArrowRight Home End + - 0'
]);
const isCode = text => CODE.has(text.trim()) || /^(<svg|import \w+|color-mix\()/.test(text);
/** Attributes and properties that people read. */
const SHOWN = new Set([
  'title', 'placeholder', 'alt', 'label', 'caption', 'hint', 'message', 'body', 'okLabel', 'labelTitle', 'detail',
  'shutdownLabel', 'shutdownAllLabel', 'shutdownAllConfirmationText', 'aria-label', 'aria-valuetext', 'aria-description'
]);
/** Below these, texts are for programs: schemas of commands, plugins that describe themselves, names of classes. */
const UNSHOWN = new Set(['describedBy', 'description', 'className', 'style', 'id', 'selector', 'key']);

/** The words of a source that no translator is asked for. */
function untranslated(name, text) {
  const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true, name.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS);
  const found = [];
  const tell = (node, words) => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    found.push(`${name}:${line + 1}: ${words.trim()}`);
  };
  const words = node => {
    if (ts.isStringLiteralLike(node)) {
      return node.text;
    }
    return ts.isTemplateExpression(node) ? [node.head, ...node.templateSpans.map(span => span.literal)].map(part => part.text).join(' ') : null;
  };
  const look = (node, shown) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node) || ts.isTypeNode(node) || isAside(node)) {
      return;
    }
    if (ts.isJsxText(node)) {
      if (LETTERS.test(node.text) && !isCode(node.text)) {
        tell(node, node.text);
      }
      return;
    }
    const text = words(node);
    const sentence = ts.isTemplateExpression(node) ? /(^|\s)\p{L}{2,}(\s|$)/u : /\p{L}{2,},? \p{L}/u;
    if (text !== null && !isCode(text) && LETTERS.test(text) && (shown || sentence.test(text))) {
      tell(node, text);
    }
    if (ts.isJsxExpression(node) && ts.isJsxElement(node.parent) && node.expression && /(^|\.)phase$/.test(node.expression.getText(source))) {
      tell(node, 'a phase is shown by phaseWord');
    }
    const child = shownBelow(node, shown, source);
    if (child !== null) {
      node.forEachChild(one => look(one, child && one !== node.name));
    }
  };
  look(source, false);
  return found;
}

/** Whether what is in a node is shown; null where nobody looks. */
function shownBelow(node, shown, source) {
  if (ts.isCallExpression(node)) {
    return /(^|\.)Notification\.(error|info|success|warning)$/.test(node.expression.getText(source));
  }
  if (ts.isJsxAttribute(node) || ts.isPropertyAssignment(node)) {
    const name = node.name.getText(source).replace(/['"]/g, '');
    return UNSHOWN.has(name) ? null : SHOWN.has(name);
  }
  if (ts.isJsxExpression(node)) {
    return ts.isJsxAttribute(node.parent) ? shown : true;
  }
  // What is compared, looked up or declared is not what is shown.
  const ends = [ts.isJsxOpeningElement, ts.isElementAccessExpression, ts.isVariableDeclaration, ts.isReturnStatement];
  if (ends.some(is => is(node)) || (ts.isBinaryExpression(node) && /^[!=<>]/.test(node.operatorToken.getText(source)))) {
    return false;
  }
  return shown;
}

/** Texts for the translator, for whoever reads the console, and for whoever wrote the code. */
function isAside(node) {
  return (
    (ts.isCallExpression(node) && /(^|\.)(__|_n|_p|_np|warn|classList\.\w+|querySelector(All)?)$/.test(node.expression.getText())) ||
    (ts.isNewExpression(node) && /^(Error|Token)$/.test(node.expression.getText()))
  );
}

test('a word that is not translated is found', () => {
  const bad = [
    '<b>Stop</b>', '<b title="Stop"/>', '<b title={`Stop ${x}`}/>', '<b>{ok ? "Yes" : trans.__("No")}</b>', '<b>{job.phase}</b>',
    'f({ label: "Stop" })', 'f({ label: args => (args.x ? "Stop" : trans.__("Go")) })', 'Notification.info("Done.")',
    'const x = "two words"', 'const x = `two words ${y}`'
  ];
  for (const text of bad) {
    assert.equal(untranslated('a.tsx', text).length, 1, text);
  }
  const good = [
    '<b className="kfx-Stop kfx-on">{trans.__("Stop it")}</b>', '<b title={trans._n("%1 job", "%1 jobs", n)}/>', 'f({ describedBy: { title: "x y" } })',
    'throw new Error("not seen by people")', '<b>{state === "live" ? 1 : 2}</b>', 'import x from "y"', '<b>{phaseWord(trans, job.phase)}</b>'
  ];
  for (const text of good) {
    assert.deepEqual(untranslated('a.tsx', text), [], text);
  }
});

test('each word that is shown goes through the translator', () => {
  const found = files('src', '.ts', '.tsx').flatMap(file => untranslated(relative(HERE, file), readFileSync(file, 'utf8')));
  assert.deepEqual(found, []);
});

test('the source has no colour but the theme’s', () => {
  for (const file of files('src', '.ts', '.tsx')) {
    const found = readFileSync(file, 'utf8').split('\n').filter(line => /['"`(]#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?)\(/i.test(line));
    assert.deepEqual(found, [], relative(HERE, file));
  }
});
