/** Metrics as plots that can be read with a pointer, with keys, and as a table. The library that draws is loaded with the first. */

import * as React from 'react';

import { number } from '../format';
import { plotted, speakers } from '../model';
import { aligned, look, MOST_SERIES, named, seriesOf } from '../plotting';
import type { DrawnProps, Series, Table, Zoom } from '../plotting';
import type { Measured } from '../model';
import { useKubeflow } from './context';

/** Values beside a plot's title; the plot itself shows all. */
const MOST_TOLD = 8;
/** Rows of a plot as a table: the last ones. */
const MOST_ROWS = 1000;

// Where it cannot be loaded (the server is gone), there is the table.
const Drawn = React.lazy(() => import('./uplot').catch(() => ({ default: Rows })));

/** The plots of a view side by side, with one legend, by which lines are hidden and shown again. */
export function Plots(props: { view: Measured; height: number; most?: number; wide?: boolean; clock?: boolean }): React.JSX.Element | null {
  const { view } = props;
  const group = React.useId();
  const [hidden, setHidden] = React.useState<ReadonlySet<string>>(new Set());
  const { metrics, order } = React.useMemo(
    () => ({ metrics: plotted(view).slice(0, props.most), order: speakers(view) }),
    // A view is made anew each second; its plots only when there are other metrics.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [view.metrics, view.replicas, props.most]
  );
  const all = React.useMemo(() => metrics.map(([name, metric]) => ({ name, series: seriesOf(metric, order) })), [metrics, order]);
  const longest = all.reduce<Series[]>((best, one) => (one.series.length > best.length ? one.series : best), []);
  if (!all.length) {
    return null;
  }
  return (
    <>
      <div className={`kfx-Plots${props.wide ? ' kfx-wide' : ''}`}>
        {all.map(({ name, series }) => (
          <Plot key={name} title={name} series={series} hidden={hidden} height={props.height} group={group} clock={props.clock} />
        ))}
      </div>
      <Legend series={longest} hidden={hidden} onToggle={name => setHidden(toggled(hidden, name))} />
    </>
  );
}

/** One plot of some lines, with the legend by which they are hidden and shown again. */
export function Lines({ title, series, height }: { title: string; series: Series[]; height: number }): React.JSX.Element {
  const group = React.useId();
  const [hidden, setHidden] = React.useState<ReadonlySet<string>>(new Set());
  return (
    <>
      <Plot title={title} series={series} hidden={hidden} height={height} group={group} />
      <Legend series={series} hidden={hidden} onToggle={name => setHidden(toggled(hidden, name))} />
    </>
  );
}

function toggled(names: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const next = new Set(names);
  if (!next.delete(name)) {
    next.add(name);
  }
  return next;
}

interface PlotProps {
  title: string;
  series: Series[];
  hidden: ReadonlySet<string>;
  height: number;
  group: string;
  clock?: boolean | undefined;
}

const Plot = React.memo(function Plot({ series, ...more }: PlotProps): React.JSX.Element {
  const data = React.useMemo(() => aligned(series), [series]);
  return <Figure {...more} series={series} data={data} />;
});

export interface FigureProps extends PlotProps {
  data: Table;
  log?: boolean | undefined;
  choices?: readonly string[] | undefined;
  onPick?: ((index: number) => void) | undefined;
}

/** One plot with its title, its values at the pointer, and its table. */
export function Figure({ title, series, data, hidden, height, group, log, clock, choices, onPick }: FigureProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [at, setAt] = React.useState<number | null>(null);
  const [zoom, setZoom] = React.useState<Zoom>(null);
  const [asTable, setAsTable] = React.useState(false);
  const newest = (n: number) => {
    const known = (data.values[n] ?? []).filter(value => value !== undefined);
    return known[known.length - 1];
  };
  const shown = series
    .map((one, n) => ({ one, value: at === null ? newest(n) : data.values[n]?.[at] }))
    .filter(({ one }) => !hidden.has(one.name));
  const label = trans.__('%1, %2 values', title, data.xs.length);
  const drawn = { data, series, hidden, height, group, label, zoom, onZoom: setZoom, at, onAt: setAt, log, clock, choices, onPick };
  return (
    <figure className="kfx-Plot">
      <figcaption>
        <b>{title}</b>
        <span className="kfx-dim">{at === null ? '' : `@ ${named(data.xs[at] ?? null, drawn)}`}</span>
        {shown.slice(0, MOST_TOLD).map(({ one, value }) => (
          <span key={one.name} className="kfx-Plot-value" title={one.name}>
            <i style={{ background: look(one.index).color }} />
            {value === undefined ? '–' : number(value)}
          </span>
        ))}
        <span className="kfx-grow" />
        {zoom && (
          <button type="button" className="kfx-Icon" title={trans.__('Show all of it again')} aria-label={trans.__('Show all of %1 again', title)} onClick={() => setZoom(null)}>
            ⤢
          </button>
        )}
        <button
          type="button"
          className={`kfx-Icon${asTable ? ' kfx-on' : ''}`}
          aria-pressed={asTable}
          title={trans.__('As a table')}
          aria-label={trans.__('%1 as a table', title)}
          onClick={() => setAsTable(!asTable)}
        >
          ☷
        </button>
      </figcaption>
      {asTable ? (
        <Rows {...drawn} />
      ) : (
        <React.Suspense fallback={<div style={{ height }} aria-busy="true" />}>
          <Drawn {...drawn} />
        </React.Suspense>
      )}
    </figure>
  );
}

function Rows({ data, series, height, label, choices, clock }: DrawnProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const from = Math.max(0, data.xs.length - MOST_ROWS);
  return (
    <div className="kfx-Plot-table" style={{ height }} role="region" tabIndex={0} aria-label={label}>
      {from > 0 && <p className="kfx-dim">{trans.__('The last %1 of %2 values', MOST_ROWS, data.xs.length)}</p>}
      <table className="kfx-Table">
        <thead>
          <tr>
            <th scope="col">{clock ? trans.__('Time') : data.stepped ? trans.__('Step') : trans.__('Value')}</th>
            {series.map(one => (
              <th key={one.name} scope="col">
                {one.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.xs.slice(from).map((x, n) => (
            <tr key={n}>
              <th scope="row">{named(x, { choices, clock })}</th>
              {series.map((one, which) => {
                const value = data.values[which]?.[from + n];
                return <td key={one.name}>{value === undefined ? '' : number(value)}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Which line is whose, as drawn; pressed are those that are shown. */
function Legend(props: { series: Series[]; hidden: ReadonlySet<string>; onToggle: (name: string) => void }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  if (props.series.length < 2) {
    return null;
  }
  return (
    <div className="kfx-Legend" role="group" aria-label={trans.__('Lines of the plots')}>
      {props.series.map(one => (
        <button key={one.name} type="button" aria-pressed={!props.hidden.has(one.name)} onClick={() => props.onToggle(one.name)}>
          <Look index={one.index} />
          {one.name}
        </button>
      ))}
      {props.series.length === MOST_SERIES && <span className="kfx-dim">{trans.__('the first %1', MOST_SERIES)}</span>}
    </div>
  );
}

/** A piece of a line as it is drawn. */
export function Look({ index }: { index: number }): React.JSX.Element {
  const { color, dash } = look(index);
  return (
    <svg className="kfx-Look" width="22" height="10" aria-hidden="true">
      <line x1="0" x2="22" y1="5" y2="5" stroke={color} strokeWidth="2" strokeDasharray={dash.join(' ')} />
    </svg>
  );
}
