/** A job's log: all lines as they come, of all replicas or one, searched, followed, downloaded. */

import * as React from 'react';

import { cutAt, parted } from '../ansi';
import type { Client } from '../client';
import { clean, clock } from '../format';
import { cut, Finder, LogBuffer, rowsOf } from '../loglines';
import { replicaName } from '../model';
import type { JobKey, JobView, Line } from '../wire';
import { useKubeflow } from './context';
import { rankStyle } from './parts';
import { Virtual } from './virtual';

const HEIGHT = 18;
/** Lines that are looked through between two frames. */
const SLICE = 8_000;

interface LogState {
  buffer: LogBuffer;
  done: boolean;
  error: string;
}

/** A job's log as it comes: the buffer is one and the same, its holder a new one in each frame in which lines came. */
function useLog(client: Client, { kind, namespace, name, uid }: JobKey): LogState {
  const [state, setState] = React.useState<LogState>(() => ({ buffer: new LogBuffer(), done: false, error: '' }));
  React.useEffect(() => {
    let next: LogState = { buffer: new LogBuffer(), done: false, error: '' };
    let frame = 0;
    const watch = client.lines({ kind, namespace, name, uid }, (lines, done, fresh, error) => {
      const buffer = fresh ? new LogBuffer() : next.buffer;
      buffer.append(lines);
      next = { buffer, done, error };
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        setState(next);
      });
    });
    return () => {
      cancelAnimationFrame(frame);
      watch.dispose();
    };
  }, [client, kind, namespace, name, uid]);
  return state;
}

/** The lines with certain words, found a slice a frame; null while nothing is looked for. */
function useFinder(log: LogState, wanted: string, replica: string): { finder: Finder | null; complete: boolean } {
  const { buffer } = log;
  const finder = React.useMemo(() => (wanted ? new Finder(buffer, wanted, replica) : null), [buffer, wanted, replica]);
  const [looked, setLooked] = React.useState<{ finder: Finder | null; complete: boolean }>({ finder: null, complete: true });
  React.useEffect(() => {
    if (!finder) {
      return;
    }
    let frame = requestAnimationFrame(function look() {
      const complete = finder.advance(SLICE);
      setLooked({ finder, complete });
      frame = complete ? 0 : requestAnimationFrame(look);
    });
    return () => cancelAnimationFrame(frame);
  }, [finder, log]);
  return { finder, complete: !finder || (looked.finder === finder && looked.complete) };
}

export function Log(props: { jobKey: JobKey; view: JobView | null; replica: string; onReplica: (name: string) => void }): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const { jobKey, replica } = props;
  const log = useLog(client, jobKey);
  const { buffer } = log;
  const [follow, setFollow] = React.useState(true);
  const [wanted, setWanted] = React.useState('');
  const [only, setOnly] = React.useState(false);
  const [times, setTimes] = React.useState(false);
  const [current, setCurrent] = React.useState<number | null>(null);
  const search = React.useRef<HTMLInputElement>(null);
  const { finder, complete } = useFinder(log, wanted, replica);
  const hits = finder?.hits ?? [];

  const speakers = [...new Set([...(props.view?.replicas.map(replicaName) ?? []), ...buffer.replicas])];
  const width = Math.max(0, ...speakers.map(one => one.length));
  const rows = only && finder ? rowsOf(hits) : buffer.rows(replica);
  const oldest = rows.size ? rows.number(0) : 0;
  const active = current !== null && current >= oldest ? rows.index(current) : null;
  const step = (by: 1 | -1) => {
    const next = finder?.step(current, by) ?? null;
    if (next !== null) {
      setFollow(false);
      setCurrent(next);
    }
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key.toLowerCase() === 'f' && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      search.current?.select();
    } else if (event.key === 'Enter' && event.target === search.current) {
      step(event.shiftKey ? -1 : 1);
    } else if (event.key === 'Escape' && event.target === search.current) {
      setWanted('');
    }
  };

  return (
    <div className="kfx-Log" onKeyDown={onKeyDown}>
      <div className="kfx-Tools-row kfx-Log-tools">
        <select className="kfx-Select" aria-label={trans.__('Replica')} value={replica} onChange={event => props.onReplica(event.target.value)}>
          <option value="">{trans.__('All replicas')}</option>
          {speakers.map(one => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
        <div className="kfx-Search" role="search">
          <input
            ref={search}
            type="search"
            className="kfx-Input"
            placeholder={trans.__('Search the log')}
            aria-label={trans.__('Search the log')}
            value={wanted}
            onChange={event => {
              setWanted(event.target.value);
              setCurrent(null);
            }}
          />
          <span className="kfx-dim kfx-Log-hits" role="status">
            {finder ? told(finder, current, complete) || trans.__('no match') : ''}
          </span>
          <button type="button" className="kfx-Icon" disabled={!hits.length} aria-label={trans.__('Previous match')} title={trans.__('Previous match')} onClick={() => step(-1)}>
            ↑
          </button>
          <button type="button" className="kfx-Icon" disabled={!hits.length} aria-label={trans.__('Next match')} title={trans.__('Next match')} onClick={() => step(1)}>
            ↓
          </button>
        </div>
        <label className="kfx-Check">
          <input type="checkbox" checked={only} onChange={event => setOnly(event.target.checked)} /> {trans.__('only matches')}
        </label>
        <label className="kfx-Check">
          <input type="checkbox" checked={times} onChange={event => setTimes(event.target.checked)} /> {trans.__('times')}
        </label>
        <label className="kfx-Check">
          <input type="checkbox" checked={follow} onChange={event => setFollow(event.target.checked)} /> {trans.__('follow')}
        </label>
        <span className="kfx-grow" />
        <span className="kfx-dim">{trans._n('%1 line', '%1 lines', rows.size)}</span>
        <a className="kfx-Button" href={client.logUrl(jobKey, replica)} download={`${jobKey.name}.log`}>
          {trans.__('Download')}
        </a>
      </div>
      {log.error && (
        <div className="kfx-Notice" role="alert">
          {log.error}
        </div>
      )}
      {rows.size ? (
        <Virtual
          className="kfx-Log-lines"
          size={rows.size}
          height={HEIGHT}
          label={trans.__('Log of %1', jobKey.name)}
          role="log"
          quiet
          overscan={20}
          follow={follow}
          onFollow={setFollow}
          reveal={active}
          origin={replica || (only && finder) ? null : buffer.first}
          render={index => {
            const number = rows.number(index);
            const line = buffer.at(number);
            return (
              line && (
                <Row
                  key={number}
                  line={line}
                  active={number === current}
                  times={times}
                  name={replica ? '' : line.r.padEnd(width)}
                  rank={speakers.indexOf(line.r)}
                  wanted={wanted}
                />
              )
            );
          }}
        />
      ) : (
        <div className="kfx-Empty">
          <p className="kfx-dim">{empty(log, wanted && only ? trans.__('no match') : '', trans.__('It has printed nothing.'), trans.__('Nothing printed yet.'))}</p>
        </div>
      )}
    </div>
  );
}

function empty(log: LogState, none: string, nothing: string, notYet: string): string {
  if (none && log.buffer.end) {
    return none;
  }
  return log.done ? nothing : notYet;
}

/** `3/120`, and a dot or three while there may be more. */
function told(finder: Finder, current: number | null, complete: boolean): string {
  const count = finder.hits.length;
  const more = complete ? '' : '…';
  if (!count) {
    return more;
  }
  const rows = rowsOf(finder.hits);
  const at = current === null ? -1 : rows.index(current);
  return `${at >= 0 && rows.number(at) === current ? `${at + 1}/` : ''}${count}${more}`;
}

interface RowProps {
  line: Line;
  active: boolean;
  times: boolean;
  name: string;
  rank: number;
  wanted: string;
}

/** What a line says, as its program coloured it, with the words that are looked for marked. */
function Said({ line, wanted }: { line: string; wanted: string }): React.JSX.Element {
  const marks = cut(clean(line), wanted).map(part => part.length);
  return (
    <span>
      {cutAt(parted(line), marks).map(({ text, look, place }, n) =>
        place % 2 ? (
          <mark key={n}>{text}</mark>
        ) : look ? (
          <span key={n} className={look}>
            {text}
          </span>
        ) : (
          text
        )
      )}
    </span>
  );
}

const Row = React.memo(function Row({ line, active, times, name, rank, wanted }: RowProps): React.JSX.Element {
  return (
    <div className={`kfx-Log-line${active ? ' kfx-active' : ''}`} style={{ height: HEIGHT }}>
      {times && <span className="kfx-dim">{clock(line.t)} </span>}
      {name && (
        <span className="kfx-Rank" style={rankStyle(rank)}>
          {name}
        </span>
      )}
      <Said line={line.s} wanted={wanted} />
    </div>
  );
});
