/** The small parts of which every view of a job is made. */

import * as React from 'react';

import { parted } from '../ansi';
import type { Standing } from '../client';
import { clean, duration } from '../format';
import { elapsed, finished, frameworkMark, frameworkTitle, replicaName, SIGNS, speakers } from '../model';
import { look } from '../plotting';
import type { Explanation, JobView, LogLine, Replica } from '../wire';
import { causeWord, phaseWord, replicaFacts } from './words';
import { useKubeflow, useNow } from './context';

const MOST_CHIPS = 24;
const MOST_TRACEBACK = 60;

export function phaseClass(phase: string): string {
  return `kfx-${phase in SIGNS ? phase : 'Unknown'}`;
}

/** The phase as a coloured word; `word` where it is called otherwise. */
export function Badge({ phase, word }: { phase: string; word?: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <span className={`kfx-Badge ${phaseClass(phase)}`}>
      <span aria-hidden="true">{SIGNS[phase] ?? '○'}</span> {word ?? phaseWord(trans, phase)}
    </span>
  );
}

/** What is known of something, a line each: what it is, and how it is with this one. */
export function Facts({ facts }: { facts: readonly (readonly [string, React.ReactNode])[] }): React.JSX.Element {
  return (
    <dl className="kfx-Facts">
      {facts.map(([name, value]) => (
        <React.Fragment key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </React.Fragment>
      ))}
    </dl>
  );
}

/** Two letters in a coloured square. */
export function FrameworkMark({ name }: { name: string }): React.JSX.Element {
  return (
    <span className={`kfx-Mark kfx-Mark-${name}`} title={frameworkTitle(name)} aria-hidden="true">
      {frameworkMark(name)}
    </span>
  );
}

export function Progress({ value, phase }: { value: number | null; phase: string }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  if (value === null) {
    return phase === 'Running' ? <div className={`kfx-Bar kfx-Bar-unknown ${phaseClass(phase)}`} aria-hidden="true" /> : null;
  }
  const percent = Math.round(Math.max(0, Math.min(1, value)) * 100);
  return (
    <div
      className={`kfx-Bar ${phaseClass(phase)}`}
      role="progressbar"
      aria-label={trans.__('Progress')}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      title={`${percent} %`}
    >
      <div style={{ width: `${percent}%` }} />
    </div>
  );
}

/** `1m 05s · about 2m left`, moving while the job does. */
export function Elapsed({ view }: { view: JobView }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const moving = !finished(view.status.phase);
  const now = useNow(moving);
  const took = duration(elapsed(view, moving ? Math.max(now, view.seen) : view.seen));
  if (!took) {
    return null;
  }
  let text = took;
  if (!moving) {
    text = trans.__('took %1', took);
  } else if (view.status.started === null) {
    text = trans.__('waiting %1', took);
  } else if (view.eta !== null) {
    text = trans.__('%1 · about %2 left', took, duration(view.eta));
  }
  return <span className="kfx-Time">{text}</span>;
}

export function Why({ why }: { why: Explanation | null }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  if (!why) {
    return null;
  }
  const word = causeWord(trans, why.cause);
  const lines = why.traceback.trim().split('\n').map(clean);
  const shown =
    lines.length > MOST_TRACEBACK
      ? [lines[0], trans.__('  … %1 lines', lines.length - MOST_TRACEBACK), ...lines.slice(-MOST_TRACEBACK)]
      : lines;
  return (
    <>
      <div className="kfx-Why" role="note">
        <p>
          {word && <span className="kfx-Cause">{word}</span>} <b>{why.sentence}</b>
        </p>
        {why.hint && <p>{why.hint}</p>}
      </div>
      {why.traceback && (
        <>
          <h2 className="kfx-H">{why.replica ? trans.__('Traceback of %1', why.replica) : trans.__('Traceback')}</h2>
          <pre className="kfx-Pre" tabIndex={0}>
            {shown.map((line, n) => (
              <span key={n} className={n === shown.length - 1 ? 'kfx-Pre-error' : undefined}>
                {line}
                {'\n'}
              </span>
            ))}
          </pre>
        </>
      )}
    </>
  );
}

/** The replicas as chips; of very many those that need eyes, and the number of the rest. */
export function Chips({ replicas, onPick }: { replicas: Replica[]; onPick?: (name: string) => void }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  if (!replicas.length) {
    return null;
  }
  let shown = replicas;
  const rest = new Map<string, number>();
  if (replicas.length > MOST_CHIPS) {
    const weight = (phase: string) => ({ Failed: 0, Restarting: 1, Pending: 2, Waiting: 2 })[phase] ?? 3;
    const keep = new Set(
      replicas
        .map((one, n) => [weight(one.phase), n] as const)
        .sort((a, b) => a[0] - b[0] || a[1] - b[1])
        .slice(0, MOST_CHIPS - 1)
        .map(([, n]) => n)
    );
    replicas.forEach((one, n) => {
      if (!keep.has(n)) {
        rest.set(one.phase, (rest.get(one.phase) ?? 0) + 1);
      }
    });
    shown = replicas.filter((_, n) => keep.has(n));
  }
  return (
    <ul className="kfx-Chips" aria-label={trans.__('Replicas')}>
      {shown.map(one => {
        const name = replicaName(one);
        const body = (
          <>
            <span className="kfx-Sign" aria-hidden="true">
              {SIGNS[one.phase] ?? '○'}
            </span>{' '}
            <b>{name}</b> {phaseWord(trans, one.phase)}
            <span className="kfx-dim">{replicaFacts(trans, one).map(fact => ` · ${fact}`)}</span>
          </>
        );
        return (
          <li key={name} className={`kfx-Chip ${phaseClass(one.phase)}`} title={clean(one.message) || undefined}>
            {onPick ? (
              <button type="button" onClick={() => onPick(name)} title={trans.__('Show the log of %1', name)}>
                {body}
              </button>
            ) : (
              body
            )}
          </li>
        );
      })}
      {[...rest].map(([phase, count]) => (
        <li key={phase} className={`kfx-Chip ${phaseClass(phase)}`}>
          {trans.__('and %1 more: %2', count, phaseWord(trans, phase))}
        </li>
      ))}
    </ul>
  );
}

/** A line as its program coloured it. */
function Coloured({ line }: { line: string }): React.JSX.Element {
  return (
    <>
      {parted(line).map(({ text, look }, n) => (
        <span key={n} className={look || undefined}>
          {text}
        </span>
      ))}
    </>
  );
}

/** The last lines of a view. */
export function Tail({ view, count }: { view: JobView; count: number }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const lines = view.log.slice(-count);
  if (!lines.length) {
    return null;
  }
  const order = speakers(view);
  const width = Math.max(...lines.map(line => line.replica.length));
  return (
    <>
      <h2 className="kfx-H">{trans.__('Last lines')}</h2>
      <pre className="kfx-Pre" tabIndex={0}>
        {lines.map((line: LogLine, n) => (
          <span key={n}>
            <span className="kfx-Rank" style={rankStyle(order.indexOf(line.replica))}>
              {line.replica.padEnd(width)}
            </span>
            {'  '}
            <Coloured line={line.text.slice(0, 400)} />
            {'\n'}
          </span>
        ))}
      </pre>
    </>
  );
}

export function rankStyle(index: number): React.CSSProperties {
  return { '--kfx-rank': look(index).color } as React.CSSProperties;
}

/** Nothing to see, and what to do about it. */
export function Empty(props: { title: string; children?: React.ReactNode; icon?: React.ReactNode }): React.JSX.Element {
  return (
    <div className="kfx-Empty">
      {props.icon}
      <p className="kfx-Empty-title">{props.title}</p>
      {props.children}
    </div>
  );
}

interface NoticeProps {
  standing: Standing;
  /** What is said while the cluster sleeps, where nothing else says it. */
  asleep?: string;
}

/** One line about the way to the cluster, when it is not as it should be. */
export function Notice({ standing, asleep = '' }: NoticeProps): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const said: Record<string, string> = {
    offline: trans.__('The Jupyter server does not answer. Trying again …'),
    unreachable: trans.__('The cluster does not answer; what you see may be old. Trying again …'),
    stopped: asleep,
    refused: standing.message
  };
  const text = said[standing.state];
  if (!text) {
    return null;
  }
  return (
    <div className="kfx-Notice" role="alert" title={standing.message}>
      {text}
      {standing.state === 'refused' && standing.hint && <div className="kfx-dim">{standing.hint}</div>}
    </div>
  );
}
