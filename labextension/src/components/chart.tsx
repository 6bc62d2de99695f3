/** A line plot of one metric as SVG: grows with its place, tells values under the pointer, described in words. */

import * as React from 'react';

import { number } from '../format';
import type { Point } from '../wire';

export const COLORS = ['#3b82c4', '#d9822b', '#3fa66a', '#b35fb0', '#2ba3a3', '#cf4f4f', '#7a7ae0', '#a98a1d'];
const DASHES = ['', '6 3', '2 2', '8 3 2 3'];
const LEFT = 44;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;
const MOST_SERIES = 8;

export interface Series {
  name: string;
  points: Point[];
  /** Its place in the order of speakers, which decides its colour. */
  index: number;
}

interface Axis {
  low: number;
  high: number;
  ticks: number[];
}

/** Round numbers (1, 2 or 5 times a power of ten) inside a range. */
export function ticks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / Math.max(1, count);
  if (!Number.isFinite(raw) || raw <= 0) {
    return [low];
  }
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => power * factor).find(size => size >= raw * 0.7) ?? raw;
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n++) {
    found.push(n * step);
  }
  return found;
}

function axis(values: number[], pad: number, count: number): Axis {
  const finite = values.filter(Number.isFinite);
  let low = finite.length ? Math.min(...finite) : 0;
  let high = finite.length ? Math.max(...finite) : 1;
  const room = high - low < 1e-12 * Math.max(1, Math.abs(high)) ? Math.max(Math.abs(high) * 0.1, 1e-6) : (high - low) * pad;
  low -= room;
  high += room;
  return { low, high, ticks: ticks(low, high, count) };
}

const place = (scale: Axis, value: number, start: number, end: number) =>
  start + ((value - scale.low) / (scale.high - scale.low)) * (end - start);

interface Drawn extends Series {
  pairs: [number, number | null][];
}

function drawn(series: Series[]): Drawn[] {
  const stepped = series.every(one => one.points.every(point => point.step !== null));
  return series.slice(0, MOST_SERIES).map(one => ({
    ...one,
    pairs: one.points.map((point, n) => [stepped && point.step !== null ? point.step : n + 1, point.value as number | null])
  }));
}

/** Which line is whose: colour and dash as drawn, and the name. */
export function Legend({ series }: { series: Series[] }): React.JSX.Element | null {
  if (series.length < 2) {
    return null;
  }
  return (
    <div className="kfx-Legend">
      {series.slice(0, MOST_SERIES).map(one => (
        <span key={one.name}>
          <svg width="22" height="10" aria-hidden="true">
            <line
              x1="0"
              x2="22"
              y1="5"
              y2="5"
              stroke={COLORS[one.index % COLORS.length]}
              strokeWidth="2"
              strokeDasharray={DASHES[one.index % DASHES.length]}
            />
          </svg>
          {one.name}
        </span>
      ))}
      {series.length > MOST_SERIES && <span>+{series.length - MOST_SERIES}</span>}
    </div>
  );
}

export function Chart(props: { title: string; series: Series[]; width: number; height: number }): React.JSX.Element {
  const { title, width, height } = props;
  const [at, setAt] = React.useState<number | null>(null);
  const series = React.useMemo(() => drawn(props.series), [props.series]);
  const x = axis(
    series.flatMap(one => one.pairs.map(pair => pair[0])),
    0,
    Math.max(2, Math.round(width / 90))
  );
  const y = axis(
    series.flatMap(one => one.pairs.map(pair => pair[1] ?? NaN)),
    0.06,
    Math.max(2, Math.round(height / 45))
  );
  const px = (value: number) => place(x, value, LEFT, width - RIGHT);
  const py = (value: number) => place(y, value, height - BOTTOM, TOP);
  const last = series[0]?.pairs[series[0].pairs.length - 1]?.[1] ?? null;

  const onMove = (event: React.MouseEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const wanted = x.low + (((event.clientX - box.left) * (width / box.width) - LEFT) / (width - LEFT - RIGHT)) * (x.high - x.low);
    const steps = series.flatMap(one => one.pairs.map(pair => pair[0]));
    const nearest = steps.reduce<number | null>(
      (best, step) => (best === null || Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best),
      null
    );
    setAt(nearest);
  };

  const told = at === null ? [] : series.map(one => ({ one, value: one.pairs.find(pair => pair[0] === at)?.[1] ?? null }));
  const said = series
    .map(one => {
      const values = one.pairs.map(pair => pair[1]);
      return `${one.name}: ${values.length} values, from ${number(values[0] ?? null)} to ${number(values[values.length - 1] ?? null)}`;
    })
    .join('; ');

  return (
    <figure className="kfx-Chart">
      <figcaption>
        <b>{title}</b> <span className="kfx-dim">{at === null ? number(last) : `@ ${number(at)}`}</span>
        {told.map(({ one, value }) => (
          <span key={one.name} className="kfx-Chart-value">
            <i style={{ background: COLORS[one.index % COLORS.length] }} />
            {number(value)}
          </span>
        ))}
      </figcaption>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        width={width}
        height={height}
        role="img"
        aria-label={`${title}. ${said}`}
        onMouseMove={onMove}
        onMouseLeave={() => setAt(null)}
      >
        {y.ticks.map(mark => (
          <g key={`y${mark}`}>
            <line className="kfx-grid" x1={LEFT} x2={width - RIGHT} y1={py(mark)} y2={py(mark)} />
            <text x={LEFT - 6} y={py(mark)} textAnchor="end" dominantBaseline="middle">
              {number(mark)}
            </text>
          </g>
        ))}
        {x.ticks.map(mark => (
          <text key={`x${mark}`} x={px(mark)} y={height - 5} textAnchor="middle">
            {number(mark)}
          </text>
        ))}
        <line className="kfx-base" x1={LEFT} x2={width - RIGHT} y1={height - BOTTOM} y2={height - BOTTOM} />
        {[...series].reverse().map(one => (
          <Line key={one.name} series={one} px={px} py={py} />
        ))}
        {at !== null && <line className="kfx-cross" x1={px(at)} x2={px(at)} y1={TOP} y2={height - BOTTOM} />}
        {told.map(
          ({ one, value }) =>
            at !== null &&
            value !== null && (
              <circle key={one.name} cx={px(at)} cy={py(value)} r="3.2" fill={COLORS[one.index % COLORS.length]} />
            )
        )}
      </svg>
    </figure>
  );
}

function Line(props: { series: Drawn; px: (x: number) => number; py: (y: number) => number }): React.JSX.Element {
  const { series, px, py } = props;
  const runs: [number, number][][] = [[]];
  for (const [x, y] of series.pairs) {
    if (y === null || !Number.isFinite(y)) {
      runs.push([]);
    } else {
      runs[runs.length - 1]?.push([px(x), py(y)]);
    }
  }
  const color = COLORS[series.index % COLORS.length];
  const full = runs.filter(run => run.length);
  const end = full[full.length - 1]?.slice(-1)[0];
  return (
    <g>
      {full.map((run, n) =>
        run.length > 1 ? (
          <polyline
            key={n}
            points={run.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')}
            fill="none"
            stroke={color}
            strokeWidth="1.8"
            strokeLinejoin="round"
            strokeDasharray={DASHES[series.index % DASHES.length]}
          />
        ) : (
          <circle key={n} cx={run[0]?.[0]} cy={run[0]?.[1]} r="2.6" fill={color} />
        )
      )}
      {end && <circle cx={end[0]} cy={end[1]} r="2.8" fill={color} />}
    </g>
  );
}

/** The metrics of a view as series, coloured alike everywhere. */
export function seriesOf(metric: Record<string, Point[]>, order: string[]): Series[] {
  return Object.entries(metric)
    .filter(([, points]) => points.length)
    .map(([name, points]) => ({ name, points, index: Math.max(0, order.indexOf(name)) }))
    .sort((a, b) => a.index - b.index);
}
