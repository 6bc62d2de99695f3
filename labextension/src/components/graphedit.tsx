/** The graph of a version, edited by mouse and keyboard. Nothing happens before what would change was shown and applied. */

import * as React from 'react';

import * as drafts from '../drafts';
import { drawn, NODE } from '../endpoints';
import type { PlacedEdge, PlacedUnit } from '../endpoints';
import type { EndpointKey, EndpointView, GraphDraft, KeptPart, Workshop } from '../wire';
import type { Changing } from './change';
import { useKubeflow } from './context';
import { useUnitWords } from './graph';

const MOST_LETTERS = 17;
/** Pixels that a pointer moves before it drags. */
const SLACK = 6;

interface EditorProps {
  view: EndpointView;
  endpoint: EndpointKey;
  changing: Changing;
}

/** The button that opens the editor, and the editor. */
export function GraphEditor({ view, endpoint, changing }: EditorProps): React.JSX.Element | null {
  const { client, trans } = useKubeflow();
  const [version, setVersion] = React.useState('');
  const [workshop, setWorkshop] = React.useState<Workshop | null>(null);
  const [error, setError] = React.useState('');
  const [busy, setBusy] = React.useState(false);
  if (view.protocol !== 'seldon') {
    return null;
  }
  const usual = [...view.versions].sort((a, b) => b.traffic - a.traffic)[0]?.name ?? '';
  const wanted = view.versions.some(one => one.name === version) ? version : usual;
  const open = (name: string) => {
    setBusy(true);
    setError('');
    client.workshop(endpoint, name).then(
      found => {
        setWorkshop(found);
        setBusy(false);
      },
      (caught: unknown) => {
        setError(caught instanceof Error ? caught.message : String(caught));
        setBusy(false);
      }
    );
  };
  if (!workshop) {
    return (
      <>
        <div className="kfx-Tools-row kfx-GraphEdit-open">
          {view.versions.length > 1 && (
            <select className="kfx-Select" aria-label={trans.__('Version to edit')} value={wanted} onChange={event => setVersion(event.target.value)}>
              {view.versions.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          )}
          <button type="button" className="kfx-Button" disabled={busy} onClick={() => open(wanted)}>
            {busy ? trans.__('Reading the graph …') : trans.__('Edit the graph …')}
          </button>
        </div>
        {error && (
          <div className="kfx-Notice" role="alert">
            {error}
          </div>
        )}
      </>
    );
  }
  const share = view.versions.find(one => one.name === workshop.version)?.traffic ?? 100;
  return <Editor key={workshop.version} workshop={workshop} share={share || 100} several={view.versions.length > 1} changing={changing} onClose={() => setWorkshop(null)} />;
}

interface Step {
  root: GraphDraft;
  said: string;
}

interface BodyProps {
  workshop: Workshop;
  share: number;
  several: boolean;
  changing: Changing;
  onClose: () => void;
}

function Editor({ workshop, share, several, changing, onClose }: BodyProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [steps, setSteps] = React.useState<Step[]>([{ root: workshop.draft, said: '' }]);
  const [chosen, choose] = React.useState(workshop.draft.id);
  const [percent, setPercent] = React.useState(share);
  const { root, said } = steps[steps.length - 1] ?? { root: workshop.draft, said: '' };
  const unit = drafts.unitOf(root, chosen) ?? root;
  const edit = (next: GraphDraft | null, told: string) => {
    if (next && next !== root) {
      setSteps([...steps, { root: next, said: told }]);
    }
  };
  const move = (id: string, to: string) => edit(drafts.moved(root, id, to), trans.__('%1 moved.', name(root, id)));
  const remove = (id: string) => {
    const gone = drafts.unitOf(root, id);
    const above = drafts.parentOf(root, id);
    const next = drafts.without(root, id);
    edit(next, trans.__('%1 deleted.', gone ? drafts.titleOf(gone) : ''));
    if (next) {
      const near = gone?.children[0] ?? above ?? next;
      choose(drafts.unitOf(next, near.id) ? near.id : next.id);
    }
  };
  const sound = Number.isInteger(percent) && percent >= 0 && percent <= 100;
  return (
    <section
      className="kfx-GraphEdit"
      role="group"
      aria-label={trans.__('Editor of the graph of %1', workshop.version)}
      onKeyDown={event => {
        if ((event.ctrlKey || event.metaKey) && event.key === 'z' && !(event.target instanceof HTMLInputElement)) {
          event.preventDefault();
          event.stopPropagation();
          setSteps(before => (before.length > 1 ? before.slice(0, -1) : before));
        }
      }}
    >
      <p className="kfx-Note">
        {trans.__('What you make of %1 becomes a new version; %1 stays as it is. Choose a unit, or drag one to another place.', workshop.version)}
      </p>
      {workshop.missing && <p className="kfx-Note">{workshop.missing}</p>}
      <Drawing root={root} chosen={unit.id} onChoose={choose} onMove={move} onRemove={remove} />
      <UnitTools root={root} unit={unit} workshop={workshop} edit={edit} choose={choose} move={move} remove={remove} />
      <div className="kfx-sr" role="status">
        {said}
      </div>
      <div className="kfx-Tools-row">
        <label>
          {trans.__('Requests to the new version:')}{' '}
          <input
            type="number"
            className="kfx-Input kfx-Percent"
            min={0}
            max={100}
            value={Number.isNaN(percent) ? '' : percent}
            aria-label={trans.__('Percent of the requests to the new version')}
            data-lm-suppress-shortcuts=""
            onChange={event => setPercent(event.target.valueAsNumber)}
          />{' '}
          {several ? trans.__('% when it is ready; the others keep their proportions') : trans.__('% when it is ready')}
        </label>
      </div>
      <div className="kfx-Tools-row">
        <button
          type="button"
          className="kfx-Button kfx-primary"
          disabled={changing.busy || !sound}
          onClick={() => changing.begin({ what: 'graph', version: workshop.version, graph: root, percent })}
        >
          {trans.__('Show what changes …')}
        </button>
        <button type="button" className="kfx-Button" disabled={steps.length < 2} title={trans.__('Ctrl Z')} onClick={() => setSteps(steps.slice(0, -1))}>
          {trans.__('Undo')}
        </button>
        <button type="button" className="kfx-Button" onClick={onClose}>
          {trans.__('Close the editor')}
        </button>
      </div>
    </section>
  );
}

function name(root: GraphDraft, id: string): string {
  const unit = drafts.unitOf(root, id);
  return unit ? drafts.titleOf(unit) : '';
}

// The drawing

interface DrawingProps {
  root: GraphDraft;
  chosen: string;
  onChoose: (id: string) => void;
  onMove: (id: string, to: string) => void;
  onRemove: (id: string) => void;
}

interface Drag {
  id: string;
  x: number;
  y: number;
  dx: number;
  dy: number;
  over: string;
}

function Drawing({ root, chosen, onChoose, onMove, onRemove }: DrawingProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const words = useUnitWords();
  const [drag, setDrag] = React.useState<Drag | null>(null);
  const picture = React.useMemo(() => drawn([drafts.asVersion(root)]), [root]);
  const ids = React.useMemo(() => drafts.idsByPlace(root), [root]);
  const svg = React.useRef<SVGSVGElement>(null);
  const units = picture.units.filter(one => one.type !== 'REQUESTS');
  const idOf = (unit: PlacedUnit) => ids.get(unit.id) ?? '';
  const places = new Set(drag ? drafts.placesFor(root, drag.id).map(one => one.id) : []);
  const focus = (id: string) => {
    onChoose(id);
    svg.current?.querySelector<SVGGElement>(`[data-unit="${id}"]`)?.focus();
  };
  const onKeyDown = (event: React.KeyboardEvent, id: string) => {
    const parent = drafts.parentOf(root, id);
    const beside = parent?.children ?? [root];
    const at = beside.findIndex(one => one.id === id);
    const next: Record<string, string | undefined> = {
      ArrowLeft: parent?.id,
      ArrowRight: drafts.unitOf(root, id)?.children[0]?.id,
      ArrowUp: beside[at - 1]?.id,
      ArrowDown: beside[at + 1]?.id,
      Home: root.id
    };
    if (event.key === 'Enter' || event.key === ' ') {
      onChoose(id);
    } else if (event.key === 'Delete' || event.key === 'Backspace') {
      onRemove(id);
    } else if (event.key in next) {
      const to = next[event.key];
      if (to) {
        focus(to);
      }
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const under = (event: React.PointerEvent) => document.elementFromPoint(event.clientX, event.clientY)?.closest<SVGGElement>('[data-unit]')?.dataset.unit ?? '';
  return (
    <div className="kfx-Graph kfx-GraphEdit-drawing">
      <svg
        ref={svg}
        role="group"
        aria-label={trans.__('Units of the graph: arrows go from one to another, Delete takes one away')}
        width={picture.width + 4}
        height={picture.height + 4}
        viewBox={`-2 -2 ${picture.width + 4} ${picture.height + 4}`}
        onPointerMove={event => {
          if (drag) {
            setDrag({ ...drag, dx: event.clientX - drag.x, dy: event.clientY - drag.y, over: under(event) });
          }
        }}
        onPointerUp={event => {
          const to = under(event);
          if (drag && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > SLACK && to !== drag.id && places.has(to)) {
            onMove(drag.id, to);
          }
          setDrag(null);
        }}
        onPointerLeave={() => setDrag(null)}
      >
        {picture.edges.map(edge => (
          <Edge key={`${edge.from.id}>${edge.to.id}`} edge={edge} root={root} ids={ids} />
        ))}
        {units.map(unit => {
          const id = idOf(unit);
          const draft = drafts.unitOf(root, id);
          const dragged = drag?.id === id && Math.hypot(drag.dx, drag.dy) > SLACK;
          const word = words[unit.type] ?? unit.type.toLowerCase();
          const look = ['kfx-Graph-unit', `kfx-Graph-${unit.type}`, id === chosen ? 'kfx-chosen' : '', dragged ? 'kfx-dragged' : '', drag && places.has(id) ? (drag.over === id ? 'kfx-over' : 'kfx-place') : '', draft?.kept === false ? 'kfx-lost' : ''];
          const shown = unit.name.length > MOST_LETTERS ? `${unit.name.slice(0, MOST_LETTERS - 1)}…` : unit.name;
          return (
            <g
              key={id}
              data-unit={id}
              className={look.filter(Boolean).join(' ')}
              role="button"
              tabIndex={id === chosen ? 0 : -1}
              aria-pressed={id === chosen}
              aria-label={trans.__('%1, %2', unit.name, word)}
              transform={dragged ? `translate(${drag.dx} ${drag.dy})` : undefined}
              pointerEvents={dragged ? 'none' : undefined}
              onKeyDown={event => onKeyDown(event, id)}
              onClick={() => focus(id)}
              onPointerDown={event => {
                if (event.button === 0) {
                  setDrag({ id, x: event.clientX, y: event.clientY, dx: 0, dy: 0, over: '' });
                }
              }}
            >
              <title>{draft?.called && draft.called !== unit.name ? `${unit.name}: ${draft.called}` : unit.name}</title>
              <rect x={unit.x} y={unit.y} width={NODE.width} height={NODE.height} rx={unit.type === 'MODEL' ? 5 : NODE.height / 2} />
              <text x={unit.x + NODE.width / 2} y={unit.y + 17} textAnchor="middle" className="kfx-Graph-name">
                {shown}
              </text>
              <text x={unit.x + NODE.width / 2} y={unit.y + 31} textAnchor="middle">
                {word}
              </text>
            </g>
          );
        })}
        <Requests unit={picture.units.find(one => one.type === 'REQUESTS')} word={words.REQUESTS ?? ''} />
      </svg>
    </div>
  );
}

function Requests({ unit, word }: { unit: PlacedUnit | undefined; word: string }): React.JSX.Element | null {
  return unit ? (
    <g className="kfx-Graph-unit kfx-Graph-REQUESTS" aria-hidden="true">
      <rect x={unit.x} y={unit.y} width={NODE.width} height={NODE.height} rx={NODE.height / 2} />
      <text x={unit.x + NODE.width / 2} y={unit.y + 24} textAnchor="middle">
        {word}
      </text>
    </g>
  ) : null;
}

function Edge({ edge, root, ids }: { edge: PlacedEdge; root: GraphDraft; ids: Map<string, string> }): React.JSX.Element {
  const [x1, y1] = [edge.from.x + NODE.width, edge.from.y + NODE.height / 2];
  const [x2, y2] = [edge.to.x, edge.to.y + NODE.height / 2];
  const middle = (x1 + x2) / 2;
  const parent = drafts.unitOf(root, ids.get(edge.from.id) ?? '');
  const branch = parent?.children.findIndex(one => one.id === ids.get(edge.to.id)) ?? -1;
  const weight = edge.from.type === 'REQUESTS' ? undefined : parent && drafts.weightsOf(parent)?.[branch];
  return (
    <g className="kfx-Graph-edge" aria-hidden="true">
      <path d={`M${x1},${y1}C${middle},${y1} ${middle},${y2} ${x2},${y2}`} />
      {weight !== undefined && weight !== null && (
        <text x={x2 - 4} y={y2 > y1 ? y2 + 14 : y2 - 5} textAnchor="end">
          {parent?.by === 'random' ? `${weight} %` : `× ${weight}`}
        </text>
      )}
    </g>
  );
}

// What can be done with the chosen unit

interface ToolsProps {
  root: GraphDraft;
  unit: GraphDraft;
  workshop: Workshop;
  edit: (next: GraphDraft | null, told: string) => void;
  choose: (id: string) => void;
  move: (id: string, to: string) => void;
  remove: (id: string) => void;
}

function UnitTools({ root, unit, workshop, edit, choose, move, remove }: ToolsProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [picked, pick] = React.useState(0);
  const { parts } = workshop;
  const part = parts[picked] ?? parts[0] ?? null;
  const title = drafts.titleOf(unit);
  const parent = drafts.parentOf(root, unit.id);
  const at = parent?.children.findIndex(one => one.id === unit.id) ?? 0;
  const places = drafts.placesFor(root, unit.id);
  const group = drafts.branches(unit);
  const above = (type: 'ROUTER' | 'COMBINER', by: string) => {
    const next = drafts.wrapped(root, unit.id, type, by, part);
    edit(next, trans.__('%1 added above %2.', by, title));
    choose(drafts.parentOf(next, unit.id)?.id ?? next.id);
  };
  const label = (one: KeptPart) => [one.unit || one.called, one.unit ? one.called : one.kind, one.endpoint, one.model.slice(0, 8)].filter(Boolean).join(' · ');
  return (
    <fieldset className="kfx-Traffic kfx-GraphEdit-unit">
      <legend>{trans.__('Unit %1', title)}</legend>
      {group && <Settings root={root} unit={unit} workshop={workshop} edit={edit} />}
      <div className="kfx-Tools-row">
        <select className="kfx-Select kfx-GraphEdit-parts" aria-label={trans.__('Kept model')} value={picked} disabled={!part} onChange={event => pick(Number(event.target.value))}>
          {parts.length === 0 && <option>{trans.__('No models are kept')}</option>}
          {parts.map((one, n) => (
            <option key={`${one.model}/${one.unit}`} value={n}>
              {label(one)}
            </option>
          ))}
        </select>
        {group ? (
          <button type="button" className="kfx-Button" disabled={!part} onClick={() => part && edit(drafts.added(root, unit.id, part), trans.__('%1 added as a branch.', part.called))}>
            {trans.__('Add as branch')}
          </button>
        ) : (
          <button type="button" className="kfx-Button" disabled={!part} onClick={() => part && edit(drafts.replaced(root, unit.id, part), trans.__('%1 replaced by %2.', title, part.called))}>
            {trans.__('Replace by it')}
          </button>
        )}
        <button type="button" className="kfx-Button" disabled={!part} onClick={() => part && edit(drafts.before(root, unit.id, part), trans.__('%1 put before %2.', part.called, title))}>
          {trans.__('Put before')}
        </button>
        <Choice label={trans.__('Add a router')} empty={trans.__('Router above …')} options={Object.keys(workshop.routers)} onPick={by => above('ROUTER', by)} />
        <Choice label={trans.__('Add a combiner')} empty={trans.__('Combiner above …')} options={Object.keys(workshop.combiners)} onPick={by => above('COMBINER', by)} />
      </div>
      <div className="kfx-Tools-row">
        {places.length > 0 && (
          <Choice
            label={trans.__('Move %1', title)}
            empty={trans.__('Move to …')}
            options={places.map(one => one.id)}
            words={places.map(({ id, how }) => (how === 'into' ? trans.__('branch of %1', name(root, id)) : trans.__('place of %1', name(root, id))))}
            onPick={to => move(unit.id, to)}
          />
        )}
        {parent && parent.children.length > 1 && (
          <>
            <button type="button" className="kfx-Button" disabled={at <= 0} aria-label={trans.__('%1 one branch up', title)} onClick={() => edit(drafts.shifted(root, unit.id, -1), trans.__('%1 moved.', title))}>
              ↑
            </button>
            <button type="button" className="kfx-Button" disabled={at >= parent.children.length - 1} aria-label={trans.__('%1 one branch down', title)} onClick={() => edit(drafts.shifted(root, unit.id, 1), trans.__('%1 moved.', title))}>
              ↓
            </button>
          </>
        )}
        <button
          type="button"
          className="kfx-Button kfx-danger"
          disabled={drafts.without(root, unit.id) === null}
          title={group ? trans.__('Its first branch takes its place') : undefined}
          onClick={() => remove(unit.id)}
        >
          ✕ {trans.__('Delete %1', title)}
        </button>
      </div>
    </fieldset>
  );
}

interface ChoiceProps {
  label: string;
  empty: string;
  options: string[];
  words?: string[];
  onPick: (value: string) => void;
}

/** A list of which each entry is a deed. */
function Choice({ label, empty, options, words, onPick }: ChoiceProps): React.JSX.Element {
  return (
    <select className="kfx-Select" aria-label={label} value="" onChange={event => onPick(event.target.value)}>
      <option value="" disabled hidden>
        {empty}
      </option>
      {options.map((one, n) => (
        <option key={one} value={one}>
          {words?.[n] ?? one}
        </option>
      ))}
    </select>
  );
}

type SettingsProps = Pick<ToolsProps, 'root' | 'unit' | 'workshop' | 'edit'>;

/** What chooses or combines, its weights, and what else it can be told. */
function Settings({ root, unit, workshop, edit }: SettingsProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const known = unit.type === 'ROUTER' ? workshop.routers : workshop.combiners;
  const weights = drafts.weightsOf(unit);
  const told = trans.__('Setting changed.');
  return (
    <div className="kfx-Tools-row">
      <label>
        {unit.type === 'ROUTER' ? trans.__('Chooses by') : trans.__('Combines by')}{' '}
        <select
          className="kfx-Select"
          aria-label={unit.type === 'ROUTER' ? trans.__('Chooses by') : trans.__('Combines by')}
          value={unit.by}
          onChange={event => edit(drafts.chosen(root, unit.id, event.target.value, known[event.target.value] ?? []), told)}
        >
          {!unit.by && <option value="">{unit.called}</option>}
          {Object.keys(known).map(by => (
            <option key={by} value={by}>
              {by}
            </option>
          ))}
        </select>
      </label>
      {weights?.map((weight, n) => (
        <NumberField
          key={unit.children[n]?.id ?? n}
          label={trans.__('Weight of %1', name(root, unit.children[n]?.id ?? ''))}
          shown={`${name(root, unit.children[n]?.id ?? '')}${unit.by === 'random' ? ' %' : ''}`}
          value={weight}
          onSet={value => edit(drafts.weighted(root, unit.id, n, value ?? 1), told)}
        />
      ))}
      {drafts.settingsOf(unit, workshop).map(setting => (
        <NumberField
          key={setting}
          label={setting}
          shown={setting}
          value={typeof unit.settings[setting] === 'number' ? unit.settings[setting] : null}
          onSet={value => edit(drafts.set(root, unit.id, setting, value ?? ''), told)}
        />
      ))}
    </div>
  );
}

interface FieldProps {
  label: string;
  shown: string;
  value: number | null;
  onSet: (value: number | null) => void;
}

/** A number that counts once it is left or Enter is pressed, so that each keystroke is no step of its own. */
function NumberField({ label, shown, value, onSet }: FieldProps): React.JSX.Element {
  const [text, setText] = React.useState<string | null>(null);
  const settle = () => {
    if (text !== null) {
      const found = text.trim() === '' ? null : Number(text);
      if (found === null || Number.isFinite(found)) {
        if (found !== value) {
          onSet(found);
        }
      }
      setText(null);
    }
  };
  return (
    <label>
      {shown}{' '}
      <input
        type="number"
        step="any"
        className="kfx-Input kfx-Percent"
        aria-label={label}
        data-lm-suppress-shortcuts=""
        value={text ?? value ?? ''}
        onChange={event => setText(event.target.value)}
        onBlur={settle}
        onKeyDown={event => event.key === 'Enter' && settle()}
      />
    </label>
  );
}
