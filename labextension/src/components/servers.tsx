/** How many servers a version has: a number, by load between two, and none while nobody asks. */

import * as React from 'react';

import type { EndpointView, Scaling } from '../wire';
import type { Changing } from './change';
import { useKubeflow } from './context';
import { VersionChoice } from './versionchoice';

/** What is usual where somebody begins to say it. */
const USUAL = { rps: 20, idle: 300 };
const LEAST_IDLE = 5;

function same(a: Scaling, b: Scaling): boolean {
  return a.least === b.least && a.most === b.most && a.rps === b.rps && a.idle === b.idle;
}

function sound({ least, most, rps, idle }: Scaling): boolean {
  return (
    Number.isInteger(least) &&
    Number.isInteger(most) &&
    least >= 1 &&
    most >= least &&
    (rps === null || (rps > 0 && most > least)) &&
    (idle === null || (Number.isInteger(idle) && idle >= LEAST_IDLE))
  );
}

export function Servers({ view, changing }: { view: EndpointView; changing: Changing }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const [chosen, choose] = React.useState('');
  const [draft, setDraft] = React.useState<Scaling | null>(null);
  const known = view.versions.filter(one => one.scaling);
  const busiest = [...known].sort((a, b) => b.traffic - a.traffic)[0];
  const one = known.find(({ name }) => name === chosen) ?? busiest;
  if (!one?.scaling) {
    return null;
  }
  const now = one.scaling;
  const wanted = draft ?? now;
  const byLoad = wanted.most > wanted.least;
  const set = (part: Partial<Scaling>) => {
    const made = { ...wanted, ...part };
    // Of one number there is nothing that load could choose.
    setDraft(made.most > made.least ? made : { ...made, rps: null });
  };
  const moved = !same(wanted, now);
  const field = (label: string, value: number | null, least: number, take: (value: number) => void) => (
    <input
      type="number"
      className="kfx-Input kfx-Percent"
      min={least}
      value={value === null || Number.isNaN(value) ? '' : value}
      aria-label={label}
      data-lm-suppress-shortcuts=""
      onChange={event => take(event.target.valueAsNumber)}
    />
  );
  return (
    <fieldset className="kfx-Traffic kfx-Servers">
      <legend>{trans.__('Servers')}</legend>
      <div className="kfx-Tools-row">
        {known.length > 1 ? (
          <VersionChoice
            versions={known}
            label={trans.__('Version whose servers are meant')}
            value={one.name}
            onChoose={name => {
              choose(name);
              setDraft(null);
            }}
          />
        ) : (
          <b>{one.name}</b>
        )}
        <label>
          {trans.__('from')} {field(trans.__('Servers of %1 at least', one.name), wanted.least, 1, least => set({ least, most: Math.max(least, wanted.most) || wanted.most }))}
        </label>
        <label>
          {trans.__('to')} {field(trans.__('Servers of %1 at most', one.name), wanted.most, 1, most => set({ most }))}
        </label>
        {byLoad && (
          <select
            className="kfx-Select"
            aria-label={trans.__('What decides on the servers of %1', one.name)}
            value={wanted.rps === null ? 'cpu' : 'rps'}
            onChange={event => set({ rps: event.target.value === 'rps' ? USUAL.rps : null })}
          >
            <option value="cpu">{trans.__('by CPU')}</option>
            <option value="rps">{trans.__('by requests')}</option>
          </select>
        )}
        {byLoad && wanted.rps !== null && (
          <label>
            {field(trans.__('Requests per second for each server of %1', one.name), wanted.rps, 0, rps => set({ rps }))} {trans.__('per second each')}
          </label>
        )}
      </div>
      <div className="kfx-Tools-row">
        <label>
          <input type="checkbox" checked={wanted.idle !== null} onChange={event => set({ idle: event.target.checked ? (now.idle ?? USUAL.idle) : null })} /> {trans.__('none while nobody asks')}
        </label>
        {wanted.idle !== null && (
          <label>
            {trans.__('after')} {field(trans.__('Seconds without a request of %1', one.name), wanted.idle, LEAST_IDLE, idle => set({ idle }))} {trans.__('seconds without a request')}
          </label>
        )}
      </div>
      <div className="kfx-Tools-row">
        <button type="button" className="kfx-Button" disabled={!moved || changing.busy || !sound(wanted)} onClick={() => changing.begin({ what: 'scale', version: one.name, scaling: wanted })}>
          {trans.__('Review servers …')}
        </button>
        <button type="button" className="kfx-Button" disabled={!moved || changing.busy} onClick={() => setDraft(null)}>
          {trans.__('As it is')}
        </button>
      </div>
    </fieldset>
  );
}
