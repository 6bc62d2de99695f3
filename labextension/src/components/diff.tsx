/** A difference of two manifests, to be read: what stays is folded, and a long one first shows where it begins. */

import * as React from 'react';

import { counted, folded } from '../diffs';
import type { Stretch } from '../diffs';
import { useKubeflow } from './context';

const LOOK: Record<string, string> = { '+': 'kfx-Diff-more', '-': 'kfx-Diff-less', '@': 'kfx-dim' };

export function Diff({ text }: { text: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  const parts = React.useMemo(() => folded(text), [text]);
  const { more, less } = React.useMemo(() => counted(text), [text]);
  const [open, setOpen] = React.useState<ReadonlySet<number>>(new Set());
  const box = React.useRef<HTMLPreElement>(null);
  const hidden = parts.some((one, n) => one.folded && !open.has(n));
  const show = (n: number) => {
    setOpen(new Set([...open, n]));
    // The button is gone: keys scroll on in what it was in.
    box.current?.focus();
  };
  return (
    <>
      <p className="kfx-Note kfx-Diff-sum">
        {trans._n('%1 line more', '%1 lines more', more)} · {trans._n('%1 line less', '%1 lines less', less)}{' '}
        {parts.some(one => one.folded) && (
          <button type="button" className="kfx-Link" aria-expanded={!hidden} onClick={() => setOpen(new Set(hidden ? parts.keys() : []))}>
            {hidden ? trans.__('Show all of it') : trans.__('Fold it')}
          </button>
        )}
      </p>
      <pre ref={box} className="kfx-Pre kfx-Diff" tabIndex={0} role="region" aria-label={trans.__('Difference of the manifests')}>
        {parts.map((one, n) =>
          one.folded && !open.has(n) ? (
            <button key={n} type="button" className="kfx-Diff-fold" onClick={() => show(n)}>
              {one.sign === ' ' ? trans._n('%1 line as it is', '%1 lines as they are', one.lines.length) : trans._n('%1 more line', '%1 more lines', one.lines.length)}
            </button>
          ) : (
            <Lines key={n} part={one} />
          )
        )}
      </pre>
    </>
  );
}

function Lines({ part }: { part: Stretch }): React.JSX.Element {
  return (
    <>
      {part.lines.map((line, n) => (
        <span key={n} className={LOOK[part.sign]}>
          {line}
          {'\n'}
        </span>
      ))}
    </>
  );
}
