/** The list of jobs: live rows of which only those in sight exist, filtered, sorted and grouped by the server. */

import * as React from 'react';

import { age, hardware } from '../format';
import { finished, frameworkTitle, isGroup, keyOf, PHASES, SIGNS } from '../model';
import type { RowsState } from '../model';
import { CommandIDs } from '../tokens';
import type { JobGroup, JobRow } from '../wire';
import { QUERY } from '../client';
import type { Standing } from '../client';
import { causeWord, phaseWord } from './words';
import { useKubeflow, useLeft, useNow, usePreferences, useRows, useStanding } from './context';
import { Empty, FrameworkMark, Notice, phaseClass } from './parts';
import { moved, Virtual } from './virtual';

const HEIGHT = 46;

export function JobList(): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const [shown, show] = useShown();
  const { text, phases, namespace, sort, grouped, collapsed } = shown;
  const [range, setRange] = React.useState({ offset: 0, limit: 40 });
  const [chosen, setChosen] = React.useState<number | null>(null);
  const descending = sort === 'created' || sort === 'replicas';

  const query = React.useMemo(
    () => ({ ...QUERY, text, phases, namespace, sort, descending, grouped, collapsed, ...range }),
    [text, phases, namespace, sort, descending, grouped, collapsed, range]
  );
  const state = useRows(client, query);
  const standing = useStanding(client);
  const now = useNow(state.total > 0);

  const onRange = React.useCallback((first: number, last: number) => {
    // The window is wider than what is in sight, so that scrolling a little asks nobody.
    setRange(before =>
      first >= before.offset && last <= before.offset + before.limit
        ? before
        : { offset: Math.max(0, first - 30), limit: last - first + 60 }
    );
  }, []);

  const open = (row: JobRow) => kf.execute(CommandIDs.openJob, { ...keyOf(row) });
  const toggleGroup = (name: string) =>
    show({ collapsed: collapsed.includes(name) ? collapsed.filter(one => one !== name) : [...collapsed, name] });

  const onKeyDown = (event: React.KeyboardEvent) => {
    const to = moved(event.key, chosen ?? -1, state.size);
    if (to !== undefined) {
      event.preventDefault();
      setChosen(to);
      return;
    }
    const item = chosen === null ? undefined : state.items[chosen - state.offset];
    if (!item || event.target !== event.currentTarget) {
      return;
    }
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      if (isGroup(item)) {
        toggleGroup(item.namespace);
      } else {
        open(item);
      }
    } else if (event.key === 'Delete' && !isGroup(item)) {
      kf.execute(CommandIDs.remove, { ...keyOf(item) });
    }
  };

  const cut = useStale(standing);
  return (
    <div className="kfx kfx-Jobs">
      <Notice standing={standing} />
      {(state.total > 0 || text || namespace || phases.length > 0) && <Tools shown={shown} show={show} state={state} />}
      {state.loaded && state.size > 0 ? (
        <Virtual
          className={`kfx-Jobs-list${cut ? ' kfx-stale' : ''}`}
          size={state.size}
          height={HEIGHT}
          role="grid"
          label={trans.__('Training jobs')}
          onRange={onRange}
          onKeyDown={onKeyDown}
          reveal={chosen}
          render={index => {
            const item = state.items[index - state.offset];
            const active = index === chosen;
            if (!item) {
              return <div key={index} className="kfx-Row kfx-Row-blank" style={{ height: HEIGHT }} />;
            }
            return isGroup(item) ? (
              <GroupRow key={`g/${item.namespace}`} group={item} index={index} active={active} onToggle={() => toggleGroup(item.namespace)} />
            ) : (
              <Row key={item.uid} row={item} index={index} active={active} now={now} spaces={!grouped && !namespace && state.namespaces.length > 1} onOpen={() => open(item)} />
            );
          }}
        />
      ) : (
        <Nothing standing={standing} loaded={state.loaded} filtered={state.total > 0} />
      )}
      <div className="kfx-sr" role="status" aria-live="polite">
        {state.loaded ? trans._n('%1 job', '%1 jobs', state.matched) : ''}
      </div>
    </div>
  );
}

/** Whether what is shown may be old. */
function useStale(standing: Standing): boolean {
  return ['offline', 'unreachable', 'stopped'].includes(standing.state);
}

/** What of the jobs is shown, and how. */
interface Shown {
  text: string;
  phases: string[];
  namespace: string;
  sort: string;
  grouped: boolean;
  collapsed: string[];
}

/** It begins as the settings say, is found again as it was left, and follows settings that are changed. */
function useShown(): [Shown, (change: Partial<Shown>) => void] {
  const { sort, grouped } = usePreferences();
  const begun = React.useRef({ sort, grouped });
  const [shown, show] = useLeft<Shown>('jobs', { text: '', phases: [], namespace: '', sort, grouped, collapsed: [] });
  React.useEffect(() => {
    if (begun.current.sort !== sort || begun.current.grouped !== grouped) {
      begun.current = { sort, grouped };
      show({ sort, grouped });
    }
  }, [sort, grouped, show]);
  return [shown, show];
}

interface ToolsProps {
  shown: Shown;
  show: (change: Partial<Shown>) => void;
  state: RowsState;
}

function Tools({ shown, show, state }: ToolsProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const { phases, namespace, grouped } = shown;
  const { counts, total } = state;
  const toggle = (phase: string) =>
    show({ phases: phases.includes(phase) ? phases.filter(one => one !== phase) : [...phases, phase] });
  // A namespace that has no jobs any more is still what is looked at, and can be left.
  const spaces = [...new Set([...state.namespaces, ...(namespace ? [namespace] : [])])].sort();
  return (
    <div className="kfx-Tools">
      <div className="kfx-Tools-row">
        <input
          type="search"
          className="kfx-Input"
          placeholder={trans.__('Filter jobs')}
          aria-label={trans.__('Filter jobs by name, namespace, framework, state or owner')}
          value={shown.text}
          onChange={event => show({ text: event.target.value })}
        />
        <select
          className="kfx-Select"
          aria-label={trans.__('Sort by')}
          value={shown.sort}
          onChange={event => show({ sort: event.target.value })}
        >
          <option value="created">{trans.__('Newest')}</option>
          <option value="phase">{trans.__('State')}</option>
          <option value="name">{trans.__('Name')}</option>
          <option value="framework">{trans.__('Framework')}</option>
          <option value="replicas">{trans.__('Size')}</option>
          <option value="owner">{trans.__('Owner')}</option>
        </select>
        <button
          type="button"
          className={`kfx-Toggle${grouped ? ' kfx-on' : ''}`}
          aria-pressed={grouped}
          title={trans.__('Group by namespace')}
          aria-label={trans.__('Group by namespace')}
          onClick={() => show({ grouped: !grouped })}
        >
          ☰
        </button>
      </div>
      {spaces.length > 1 && (
        <select
          className="kfx-Select kfx-Tools-space"
          aria-label={trans.__('Namespace')}
          value={namespace}
          onChange={event => show({ namespace: event.target.value })}
        >
          <option value="">{trans.__('All namespaces')}</option>
          {spaces.map(space => (
            <option key={space} value={space}>
              {space}
            </option>
          ))}
        </select>
      )}
      <div className="kfx-Phases" role="group" aria-label={trans.__('States')}>
        <button type="button" className={`kfx-Phase${phases.length ? '' : ' kfx-on'}`} aria-pressed={!phases.length} onClick={() => show({ phases: [] })}>
          {trans.__('All')} <span>{total}</span>
        </button>
        {PHASES.filter(phase => counts[phase] || phases.includes(phase)).map(phase => (
          <button
            key={phase}
            type="button"
            className={`kfx-Phase ${phaseClass(phase)}${phases.includes(phase) ? ' kfx-on' : ''}`}
            aria-pressed={phases.includes(phase)}
            onClick={() => toggle(phase)}
          >
            <i aria-hidden="true" /> {phaseWord(trans, phase)} <span>{counts[phase] ?? 0}</span>
          </button>
        ))}
      </div>
    </div>
  );
}

function GroupRow(props: { group: JobGroup; index: number; active: boolean; onToggle: () => void }): React.JSX.Element {
  const { group } = props;
  const { trans } = useKubeflow();
  return (
    <div
      className={`kfx-Row kfx-Group${props.active ? ' kfx-active' : ''}`}
      style={{ height: HEIGHT }}
      role="row"
      aria-rowindex={props.index + 1}
      aria-expanded={!group.collapsed}
      onClick={props.onToggle}
    >
      <div role="gridcell" className="kfx-Group-cell">
        <span aria-hidden="true">{group.collapsed ? '▸' : '▾'}</span> <b>{group.namespace}</b>
        <span className="kfx-dim">
          {trans._n('%1 job', '%1 jobs', group.count)}
          {group.running ? ` · ${trans.__('%1 running', group.running)}` : ''}
          {group.failed ? ` · ${trans.__('%1 failed', group.failed)}` : ''}
        </span>
      </div>
    </div>
  );
}

interface RowProps {
  row: JobRow;
  index: number;
  active: boolean;
  now: number;
  spaces: boolean;
  onOpen: () => void;
}

const Row = React.memo(function Row(props: RowProps): React.JSX.Element {
  const { row, now } = props;
  const kf = useKubeflow();
  const { trans } = kf;
  const key = keyOf(row);
  const ended = finished(row.phase);
  const act = (command: string) => (event: React.MouseEvent) => {
    event.stopPropagation();
    kf.execute(command, { ...key });
  };
  const started = row.started ?? row.created;
  const when = ended && row.finished ? age(now - row.finished) : age(now - started);
  const running = `${row.active + row.succeeded}/${row.replicas}`;
  const asked = hardware(row.cpu, row.memory, row.gpu);
  const detail = [
    frameworkTitle(row.framework) || row.kind,
    ...(props.spaces ? [row.namespace] : []),
    ...(ended || row.phase === 'Suspended' || !row.replicas ? [trans._n('%1 replica', '%1 replicas', row.replicas)] : [trans.__('%1 up', running)]),
    ...(asked ? [asked] : []),
    ...(row.owner ? [row.owner] : [])
  ].join(' · ');
  // A job that waits for a moment only is not worth its reason; the server finds it out for one that waits longer.
  const told = row.message !== '' && (row.phase === 'Failed' || row.cause !== null);
  const word = row.cause ? causeWord(trans, row.cause) : '';
  const said = word ? (
    <>
      <b>{word}</b> {row.message}
    </>
  ) : (
    row.message
  );
  const title = [
    `${row.kind} ${row.namespace}/${row.name}`,
    row.message,
    row.owner ? trans.__('of %1', row.owner) : '',
    row.origin ? trans.__('made by %1', row.origin) : '',
    row.created ? new Date(row.created * 1000).toLocaleString() : ''
  ];
  return (
    <div
      className={`kfx-Row kfx-JobRow ${phaseClass(row.phase)}${props.active ? ' kfx-active' : ''}`}
      style={{ height: HEIGHT }}
      role="row"
      aria-rowindex={props.index + 1}
      aria-selected={props.active}
      data-kind={row.kind}
      data-namespace={row.namespace}
      data-name={row.name}
      data-uid={row.uid}
      data-phase={row.phase}
      title={title.filter(Boolean).join('\n')}
      onClick={props.onOpen}
    >
      <span className="kfx-Row-sign" role="gridcell" aria-label={phaseWord(trans, row.phase)}>
        {SIGNS[row.phase] ?? '○'}
      </span>
      <div className="kfx-Row-main" role="gridcell">
        <div className="kfx-Row-name">{row.name}</div>
        <div className="kfx-Row-detail">
          {row.deleting ? trans.__('being deleted') : told ? said : detail}
        </div>
      </div>
      <span className="kfx-Row-age" role="gridcell" aria-label={trans.__('%1 ago', when)}>
        {when}
      </span>
      <span className="kfx-Row-mark" role="gridcell">
        <FrameworkMark name={row.framework} />
      </span>
      <span className="kfx-Row-actions" role="gridcell">
        {!ended && row.phase !== 'Suspended' && row.kind !== 'ChainerJob' && (
          <button type="button" tabIndex={-1} title={trans.__('Stop')} aria-label={trans.__('Stop %1', row.name)} onClick={act(CommandIDs.suspend)}>
            ■
          </button>
        )}
        {row.phase === 'Suspended' && (
          <button type="button" tabIndex={-1} title={trans.__('Resume')} aria-label={trans.__('Resume %1', row.name)} onClick={act(CommandIDs.resume)}>
            ▶
          </button>
        )}
        {ended && (
          <button type="button" tabIndex={-1} title={trans.__('Run again')} aria-label={trans.__('Run %1 again', row.name)} onClick={act(CommandIDs.rerun)}>
            ↻
          </button>
        )}
        <button type="button" tabIndex={-1} title={trans.__('Delete')} aria-label={trans.__('Delete %1', row.name)} onClick={act(CommandIDs.remove)}>
          ✕
        </button>
      </span>
    </div>
  );
});

function Nothing({ standing, loaded, filtered }: { standing: Standing; loaded: boolean; filtered: boolean }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  if (standing.state === 'absent') {
    return (
      <Empty title={trans.__('The server side is not there')}>
        <p>{trans.__('The panels need the server extension of jupyterlab-kf. Is the package installed where the Jupyter server runs, and are you allowed to use it?')}</p>
      </Empty>
    );
  }
  if (standing.state === 'stopped') {
    return (
      <Empty title={trans.__('Your cluster is asleep')}>
        <p>{trans.__('It runs on this machine and starts by itself with the first job.')}</p>
        <button type="button" className="kfx-Button kfx-primary" onClick={() => kf.execute(CommandIDs.startCluster)}>
          {trans.__('Start it now')}
        </button>
      </Empty>
    );
  }
  if (filtered) {
    return <Empty title={trans.__('No job matches')} />;
  }
  if (!loaded || standing.state === 'connecting') {
    return (
      <div className="kfx-Loading" aria-busy="true" aria-label={trans.__('Loading')}>
        {[0, 1, 2].map(n => (
          <div key={n} className="kfx-Row kfx-Row-blank" style={{ height: HEIGHT }} />
        ))}
      </div>
    );
  }
  if (standing.state === 'refused') {
    return <Empty title={trans.__('No access')} />;
  }
  return (
    <Empty title={trans.__('No training jobs yet')}>
      <p>{trans.__('Run a cell with')}</p>
      <pre className="kfx-Pre">%%kf_train pytorch -n 2</pre>
      <p>{trans.__('or launch one from here. Jobs that others or kubectl make show up too.')}</p>
      <button type="button" className="kfx-Button kfx-primary" onClick={() => kf.execute(CommandIDs.launch)}>
        {trans.__('New training job')}
      </button>
    </Empty>
  );
}
