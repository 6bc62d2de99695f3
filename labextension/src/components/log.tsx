/** A job's log: all lines as they come, of all replicas or one, searched, followed, downloaded. */

import * as React from 'react';

import { clean, clock } from '../format';
import { replicaName } from '../model';
import type { JobKey, JobView, Line } from '../wire';
import { useKubeflow } from './context';
import { rankStyle } from './parts';
import { Virtual } from './virtual';

const HEIGHT = 18;
/** Lines that are kept; the beginning is let go of. */
const MOST = 200_000;

interface LogState {
  lines: Line[];
  done: boolean;
  error: string;
}

export function Log(props: { jobKey: JobKey; view: JobView | null; replica: string; onReplica: (name: string) => void }): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const { jobKey, replica } = props;
  const [state, setState] = React.useState<LogState>({ lines: [], done: false, error: '' });
  const [follow, setFollow] = React.useState(true);
  const [search, setSearch] = React.useState('');
  const [only, setOnly] = React.useState(false);
  const [times, setTimes] = React.useState(false);
  const [hit, setHit] = React.useState(0);
  const { kind, namespace, name, uid } = jobKey;

  React.useEffect(() => {
    const watch = client.lines({ kind, namespace, name, uid }, (lines, done, fresh, error) => {
      setState(before => {
        const all = fresh ? lines : before.lines.concat(lines);
        return { lines: all.length > MOST ? all.slice(-MOST) : all, done, error };
      });
    });
    return () => watch.dispose();
  }, [client, kind, namespace, name, uid]);

  const speakers = React.useMemo(() => {
    const found = new Set(props.view?.replicas.map(replicaName) ?? []);
    state.lines.forEach(line => found.add(line.r));
    return [...found];
  }, [props.view?.replicas, state.lines]);
  const width = Math.max(0, ...speakers.map(one => one.length));
  const wanted = search.toLowerCase();
  const shown = React.useMemo(() => {
    let found = replica ? state.lines.filter(line => line.r === replica) : state.lines;
    if (only && wanted) {
      found = found.filter(line => line.s.toLowerCase().includes(wanted));
    }
    return found;
  }, [state.lines, replica, only, wanted]);
  const hits = React.useMemo(() => {
    const found: number[] = [];
    if (wanted) {
      shown.forEach((line, n) => line.s.toLowerCase().includes(wanted) && found.push(n));
    }
    return found;
  }, [shown, wanted]);
  const current = hits.length ? (hits[hit % hits.length] ?? null) : null;
  const step = (by: number) => {
    setFollow(false);
    setHit(before => (hits.length ? (before + by + hits.length) % hits.length : 0));
  };

  return (
    <div className="kfx-Log">
      <div className="kfx-Tools-row kfx-Log-tools">
        <select className="kfx-Select" aria-label={trans.__('Replica')} value={replica} onChange={event => props.onReplica(event.target.value)}>
          <option value="">{trans.__('All replicas')}</option>
          {speakers.map(one => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
        <input
          type="search"
          className="kfx-Input"
          placeholder={trans.__('Search the log')}
          aria-label={trans.__('Search the log')}
          value={search}
          onChange={event => {
            setSearch(event.target.value);
            setHit(0);
          }}
          onKeyDown={event => event.key === 'Enter' && step(event.shiftKey ? -1 : 1)}
        />
        <span className="kfx-dim kfx-Log-hits" role="status">
          {wanted ? (hits.length ? `${(hit % hits.length) + 1}/${hits.length}` : trans.__('no match')) : ''}
        </span>
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
        <span className="kfx-dim">{trans._n('%1 line', '%1 lines', shown.length)}</span>
        <a className="kfx-Button" href={client.logUrl(jobKey, replica)} download={`${name}.log`}>
          {trans.__('Download')}
        </a>
      </div>
      {state.error && (
        <div className="kfx-Notice" role="alert">
          {state.error}
        </div>
      )}
      {shown.length ? (
        <Virtual
          className="kfx-Log-lines"
          size={shown.length}
          height={HEIGHT}
          label={trans.__('Log of %1', name)}
          role="log"
          overscan={30}
          follow={follow && current === null}
          onFollow={setFollow}
          reveal={current}
          render={index => {
            const line = shown[index];
            return (
              line && (
                <div key={index} className={`kfx-Log-line${index === current ? ' kfx-active' : ''}`} style={{ height: HEIGHT }}>
                  {times && <span className="kfx-dim">{clock(line.t)} </span>}
                  {!replica && (
                    <span className="kfx-Rank" style={rankStyle(speakers.indexOf(line.r))}>
                      {line.r.padEnd(width)}
                    </span>
                  )}
                  <Marked text={clean(line.s)} wanted={wanted} />
                </div>
              )
            );
          }}
        />
      ) : (
        <div className="kfx-Empty">
          <p className="kfx-dim">{state.done ? trans.__('It has printed nothing.') : trans.__('Nothing printed yet.')}</p>
        </div>
      )}
    </div>
  );
}

function Marked({ text, wanted }: { text: string; wanted: string }): React.JSX.Element {
  const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
  if (at < 0) {
    return <span>{text}</span>;
  }
  return (
    <span>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + wanted.length)}</mark>
      {text.slice(at + wanted.length)}
    </span>
  );
}
