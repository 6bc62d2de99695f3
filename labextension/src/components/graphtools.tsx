/** What can be done with the chosen unit of a graph that is edited: each deed of the mouse, and those that need words. */

import * as React from 'react';

import * as drafts from '../drafts';
import type { GraphDraft, KeptPart, Workshop } from '../wire';
import { useKubeflow } from './context';

interface ToolsProps {
  root: GraphDraft;
  unit: GraphDraft;
  workshop: Workshop;
  edit: (next: GraphDraft | null, told: string) => void;
  choose: (id: string) => void;
  move: (id: string, to: string) => void;
  remove: (id: string) => void;
}

export function UnitTools({ root, unit, workshop, edit, choose, move, remove }: ToolsProps): React.JSX.Element {
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
            words={places.map(({ id, how }) => (how === 'into' ? trans.__('branch of %1', drafts.nameOf(root, id)) : trans.__('place of %1', drafts.nameOf(root, id))))}
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
          label={trans.__('Weight of %1', drafts.nameOf(root, unit.children[n]?.id ?? ''))}
          shown={`${drafts.nameOf(root, unit.children[n]?.id ?? '')}${unit.by === 'random' ? ' %' : ''}`}
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
