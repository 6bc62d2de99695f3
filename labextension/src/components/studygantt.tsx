/**
 * When each trial waited, ran and ended: a row a trial, of which only those in sight exist, over one axis of time.
 *
 * What became of a trial is told by colour and by pattern. The axis has all of the time, that of the trials in sight, or
 * a part that was drawn on it or chosen by keys.
 */

import * as React from 'react';

import { clock, duration } from '../format';
import { SIGNS } from '../model';
import { timeMarks, timeWords } from '../plotting';
import { partsOf, spanOf, stretch, trialEnded } from '../study';
import type { StudyState } from '../study';
import type { StudyHead, StudyTrial } from '../wire';
import { useKubeflow, useNow } from './context';
import { phaseClass } from './parts';
import { TrialView } from './studytrial';
import { marksOf, phaseOf } from './trialmarks';
import { moved, Virtual } from './virtual';
import { phaseWord } from './words';

const HEIGHT = 22;
/** Trials from which the axis begins with the time of those in sight: of all of it each would have less than a pixel. */
const MANY = 150;
const MOST_ROWS = 1000;
/** Pixels between marks of the axis. */
const ROOM = 95;
/** Pixels of a letter of its words, at most. */
const LETTER = 6.5;
const STATES = ['Pending', 'Running', 'Succeeded', 'Failed', 'EarlyStopped', 'Killed', 'MetricsUnavailable'];

/** What the axis has: all, what is in sight, or this part. */
type Part = 'all' | 'sight' | [number, number];

export interface GanttProps {
  state: StudyState;
  head: StudyHead;
  /** The trials that are within the ranges. */
  rows: readonly StudyTrial[];
  chosen: string;
  onChoose: (trial: string) => void;
  height: number;
  /** Whether the cluster can be asked. */
  live: boolean;
}

export function Gantt({ state, head, rows, chosen, onChoose, height, live }: GanttProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [part, setPart] = React.useState<Part>(rows.length > MANY ? 'sight' : 'all');
  const [sight, setSight] = React.useState<readonly [number, number]>([0, 0]);
  const [asTable, setAsTable] = React.useState(false);
  const moving = live && rows.some(one => !trialEnded(one));
  const ticking = useNow(moving);
  const now = moving ? Math.max(ticking, head.seen) : head.seen;
  const seen = React.useCallback((first: number, last: number) => setSight([first, last]), []);
  const whole = React.useMemo(() => stretch(rows, now), [rows, now]);
  const [low, high] = React.useMemo(
    () => (part === 'all' ? whole : part === 'sight' ? stretch(rows.slice(...sight), now) : part),
    [part, whole, rows, sight, now]
  );
  const at = rows.findIndex(one => one.name === chosen);
  const trial = state.trials.find(one => one.name === chosen);
  /** Half (0.5) or twice (2) as much of the time, around the trial that is looked at. */
  const zoom = (by: number) => {
    const span = trial && spanOf(trial, now);
    const middle = span ? Math.min(high, Math.max(low, (span.from + span.to) / 2)) : (low + high) / 2;
    const next: [number, number] = [Math.max(whole[0], middle - (middle - low) * by), Math.min(whole[1], middle + (high - middle) * by)];
    setPart(next[0] <= whole[0] && next[1] >= whole[1] ? 'all' : next);
  };
  const pan = (by: number) => {
    const room = high - low;
    const from = Math.min(whole[1] - room, Math.max(whole[0], low + by * room));
    if (part !== 'all') {
      setPart([from, from + room]);
    }
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const deeds: Record<string, () => void> = {
      '+': () => zoom(0.5),
      '=': () => zoom(0.5),
      '-': () => zoom(2),
      '0': () => setPart('all'),
      ArrowLeft: () => pan(-0.25),
      ArrowRight: () => pan(0.25),
      Escape: () => onChoose('')
    };
    const to = moved(event.key, at, rows.length);
    const next = to === undefined ? undefined : rows[to];
    const deed = deeds[event.key];
    if (next) {
      onChoose(next.name);
    } else if (deed) {
      deed();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const toggles: [string, string, boolean, () => void][] = [
    ['⤢', trans.__('All of the time'), part === 'all', () => setPart('all')],
    ['⇥', trans.__('The time of the trials in sight'), part === 'sight', () => setPart('sight')]
  ];
  const present = new Set(rows.map(one => (one.state === 'Created' ? 'Pending' : one.state)));
  return (
    <>
      <div className="kfx-Tools-row">
        <ul className="kfx-Gantt-legend" aria-label={trans.__('What the bars mean')}>
          <li>
            <i className="kfx-Gantt-wait" aria-hidden="true" /> {trans.__('Waiting')}
          </li>
          {STATES.filter(one => one !== 'Pending' && present.has(one)).map(one => (
            <li key={one} className={`${phaseClass(phaseOf(one))} kfx-Gantt-${one}`}>
              <i className="kfx-Gantt-ran" aria-hidden="true" /> {phaseWord(trans, one)}
            </li>
          ))}
        </ul>
        <span className="kfx-grow" />
        <button type="button" className="kfx-Icon" title={trans.__('Less of the time')} aria-label={trans.__('Less of the time')} onClick={() => zoom(0.5)}>
          +
        </button>
        <button type="button" className="kfx-Icon" title={trans.__('More of the time')} aria-label={trans.__('More of the time')} onClick={() => zoom(2)}>
          −
        </button>
        {toggles.map(([sign, label, on, act]) => (
          <button key={label} type="button" className={`kfx-Icon${on ? ' kfx-on' : ''}`} aria-pressed={on} title={label} aria-label={label} onClick={act}>
            {sign}
          </button>
        ))}
        <button type="button" className={`kfx-Icon${asTable ? ' kfx-on' : ''}`} aria-pressed={asTable} title={trans.__('As a table')} aria-label={trans.__('The timeline as a table')} onClick={() => setAsTable(!asTable)}>
          ☷
        </button>
      </div>
      {asTable ? (
        <Rows rows={rows} now={now} height={height} name={head.name} />
      ) : (
        <div className={`kfx-Gantt${HEIGHT * rows.length > height ? ' kfx-scrolls' : ''}`} data-lm-suppress-shortcuts="">
          <TimeAxis low={low} high={high} onDraw={setPart} onAll={() => setPart('all')} />
          <div style={{ height: Math.min(height, Math.max(HEIGHT * 3, HEIGHT * rows.length)) }} role="presentation">
            <Virtual
              className="kfx-Gantt-rows"
              size={rows.length}
              height={HEIGHT}
              role="listbox"
              label={trans.__('When each trial of %1 waited and ran', head.name)}
              reveal={at >= 0 ? at : null}
              overscan={3}
              onRange={seen}
              onKeyDown={onKeyDown}
              render={index => {
                const one = rows[index];
                return (
                  one && (
                    <Bar
                      key={one.name}
                      trial={one}
                      head={head}
                      best={one.name === head.best}
                      chosen={one.name === chosen}
                      low={low}
                      high={high}
                      now={trialEnded(one) ? 0 : now}
                      index={index}
                      size={rows.length}
                      onChoose={onChoose}
                    />
                  )
                );
              }}
            />
          </div>
          <div className="kfx-sr" role="status">
            {trial ? told(trans, trial, now) : ''}
          </div>
        </div>
      )}
      {trial && <TrialView key={trial.name} trial={trial} head={head} live={live} onClose={() => onChoose('')} />}
    </>
  );
}

type Words = ReturnType<typeof useKubeflow>['trans'];

/** `Trial 7: Failed, 14:03:12 to 14:04:15, waited 3s, ran 1m 00s`. */
function told(trans: Words, trial: StudyTrial, now: number): string {
  const span = spanOf(trial, now);
  if (!span) {
    return trans.__('Trial %1: %2', trial.number, phaseWord(trans, trial.state));
  }
  const { waited, ran } = partsOf(trial, now);
  return [
    trans.__('Trial %1: %2', trial.number, phaseWord(trans, trial.state)),
    trialEnded(trial) ? trans.__('%1 to %2', clock(span.from), clock(span.to)) : trans.__('since %1', clock(span.from)),
    waited === null ? '' : trans.__('waited %1', duration(waited)),
    ran === null ? (trialEnded(trial) ? trans.__('took %1, how long it waited is not known', duration(span.to - span.from)) : '') : trans.__('ran %1', duration(ran))
  ]
    .filter(Boolean)
    .join(', ');
}

interface BarProps {
  trial: StudyTrial;
  head: StudyHead;
  best: boolean;
  chosen: boolean;
  low: number;
  high: number;
  now: number;
  index: number;
  size: number;
  onChoose: (trial: string) => void;
}

const Bar = React.memo(function Bar({ trial, head, best, chosen, low, high, now, index, size, onChoose }: BarProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const phase = phaseOf(trial.state);
  const span = spanOf(trial, now);
  const place = (from: number, to: number): React.CSSProperties => {
    const percent = (time: number) => Math.min(100, Math.max(0, (100 * (time - low)) / (high - low)));
    return { left: `${percent(from)}%`, width: `${percent(to) - percent(from)}%` };
  };
  const visible = span && span.to >= low && span.from <= high;
  const waits = trial.state === 'Pending' || trial.state === 'Created';
  // Where nobody wrote down when it began, all of its time is one bar.
  const began = span ? (span.began ?? (waits ? span.to : span.from)) : 0;
  return (
    <div
      role="option"
      className={`kfx-Gantt-row kfx-TrialRow ${phaseClass(phase)} kfx-Gantt-${trial.state}${chosen ? ' kfx-active' : ''}`}
      style={{ height: HEIGHT }}
      aria-selected={chosen}
      aria-posinset={index + 1}
      aria-setsize={size}
      aria-label={told(trans, trial, now)}
      title={told(trans, trial, now)}
      {...marksOf(head, trial)}
      onClick={() => onChoose(chosen ? '' : trial.name)}
    >
      <span className="kfx-Gantt-name" aria-hidden="true">
        {best ? '★ ' : ''}
        {trial.number} <span className="kfx-Sign">{SIGNS[phase] ?? '○'}</span>
      </span>
      <span className="kfx-Gantt-track" aria-hidden="true">
        {visible && began > span.from && <i className="kfx-Gantt-wait" style={place(span.from, began)} />}
        {visible && !waits && <i className="kfx-Gantt-ran" style={place(began, span.to)} />}
      </span>
    </div>
  );
});

/** The axis: marks at whole times of the clock. A part of it is drawn with the pointer. */
function TimeAxis({ low, high, onDraw, onAll }: { low: number; high: number; onDraw: (part: [number, number]) => void; onAll: () => void }): React.JSX.Element {
  const { trans } = useKubeflow();
  const track = React.useRef<HTMLDivElement>(null);
  const [drawn, setDrawn] = React.useState<[number, number] | null>(null);
  const [width, setWidth] = React.useState(600);
  React.useLayoutEffect(() => {
    const node = track.current;
    if (!node) {
      return;
    }
    const watch = new ResizeObserver(() => setWidth(node.clientWidth));
    watch.observe(node);
    setWidth(node.clientWidth);
    return () => watch.disconnect();
  }, []);
  const marks = timeMarks(low, high, Math.max(2, Math.floor(width / ROOM)));
  const words = timeWords(marks);
  const placeOf = (event: React.PointerEvent) => {
    const box = track.current?.getBoundingClientRect();
    return box ? Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) : 0;
  };
  const end = () => {
    if (drawn && Math.abs(drawn[1] - drawn[0]) > 0.01) {
      const [from, to] = drawn[0] < drawn[1] ? drawn : [drawn[1], drawn[0]];
      onDraw([low + from * (high - low), low + to * (high - low)]);
    }
    setDrawn(null);
  };
  return (
    <div className="kfx-Gantt-head" aria-hidden="true">
      <span className="kfx-Gantt-name">{trans.__('Trial')}</span>
      <div
        ref={track}
        className="kfx-Gantt-axis"
        title={trans.__('Draw a part of the time; a double click shows all of it')}
        onPointerDown={event => {
          event.preventDefault();
          event.currentTarget.setPointerCapture(event.pointerId);
          setDrawn([placeOf(event), placeOf(event)]);
        }}
        onPointerMove={event => drawn && setDrawn([drawn[0], placeOf(event)])}
        onPointerUp={end}
        onPointerCancel={() => setDrawn(null)}
        onDoubleClick={onAll}
      >
        {marks.map((mark, n) => {
          const part = (mark - low) / (high - low);
          // What has no room to the right of its mark stands to the left of it.
          const room = (at: number) => (words[at]?.length ?? 0) * LETTER + 6;
          const turned = width * (1 - part) < room(n);
          const before = ((marks[n - 1] ?? -Infinity) - low) / (high - low);
          // And what would stand on the words before it says nothing.
          const crowded = turned && width * part - room(n) < width * before + room(n - 1);
          return (
            <span key={mark} className={`kfx-Gantt-mark${turned ? ' kfx-turned' : ''}`} style={turned ? { right: `${100 * (1 - part)}%` } : { left: `${100 * part}%` }}>
              {crowded ? '' : words[n]}
            </span>
          );
        })}
        {drawn && <span className="kfx-Gantt-drawn" style={{ left: `${100 * Math.min(...drawn)}%`, width: `${100 * Math.abs(drawn[1] - drawn[0])}%` }} />}
      </div>
    </div>
  );
}

function Rows({ rows, now, height, name }: { rows: readonly StudyTrial[]; now: number; height: number; name: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  const from = Math.max(0, rows.length - MOST_ROWS);
  return (
    <div className="kfx-Plot-table" style={{ maxHeight: height }} role="region" tabIndex={0} aria-label={trans.__('When each trial of %1 waited and ran', name)}>
      {from > 0 && <p className="kfx-dim">{trans.__('The last %1 of %2 trials', MOST_ROWS, rows.length)}</p>}
      <table className="kfx-Table">
        <thead>
          <tr>
            {[trans.__('Trial'), trans.__('State'), trans.__('Made'), trans.__('Began'), trans.__('Ended'), trans.__('Waited'), trans.__('Ran')].map(label => (
              <th key={label} scope="col">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(from).map(one => {
            const span = spanOf(one, now);
            const { waited, ran } = partsOf(one, now);
            return (
              <tr key={one.name}>
                <th scope="row">{one.number}</th>
                <td>{phaseWord(trans, one.state)}</td>
                <td>{clock(span?.from ?? null)}</td>
                <td>{clock(span?.began ?? null)}</td>
                <td>{clock(one.finished)}</td>
                <td>{duration(waited)}</td>
                <td>{duration(ran)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
