/** A plot drawn by uPlot in the theme's colours. Loaded when the first plot is shown. */

import * as React from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { number } from '../format';
import { around, look, nearest, saidAt, timeMarks, timeWords, zoomed } from '../plotting';
import type { DrawnProps, Zoom } from '../plotting';
import { resolved, useTheme } from './ink';

/** Values that an arrow goes with the shift key. */
const FAR = 10;
/** Seconds that an axis of time has at least, and pixels between its marks. */
const LEAST_TIME = 10;
const ROOM_OF_TIME = 90;
/** Half of what a letter of an axis takes, and how far its words may reach over the edges of the drawing. */
const HALF_A_LETTER = 3.2;
const ROOM_AT_LEFT = 24;
const ROOM_AT_RIGHT = 8;
/** Between marks of an axis of whole numbers: no epoch is the half of one. */
const WHOLE_STEPS = [0, 1, 2, 3, 4, 5, 6, 7, 8].flatMap(power => [1, 2, 5].map(factor => factor * 10 ** power));

export default function Drawn(props: DrawnProps): React.JSX.Element {
  const { data, series, hidden, height, zoom, at } = props;
  const box = React.useRef<HTMLDivElement>(null);
  const plot = React.useRef<uPlot | null>(null);
  const latest = React.useRef(props);
  latest.current = props;
  const theme = useTheme();
  const names = series.map(one => `${one.index}/${one.name}`).join('\n');

  React.useLayoutEffect(() => {
    const node = box.current;
    if (!node) {
      return;
    }
    const made = new uPlot(options(node, () => latest.current), rows(latest.current), node);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: node.clientWidth, height: latest.current.height }));
    watch.observe(node);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, height, theme]);

  React.useEffect(() => plot.current?.setData(rows({ data })), [data, zoom]);

  React.useEffect(() => {
    latest.current.series.forEach((one, n) => {
      if (plot.current && plot.current.series[n + 1]?.show === hidden.has(one.name)) {
        plot.current.setSeries(n + 1, { show: !hidden.has(one.name) });
      }
    });
  }, [hidden, names, theme]);

  const onKeyDown = (event: React.KeyboardEvent) => {
    const made = plot.current;
    const { xs } = data;
    if (!made || !xs.length || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const range: [number, number] = zoom ?? [xs[0] ?? 0, xs[xs.length - 1] ?? 0];
    const [low, high] = [nearest(xs, range[0]), nearest(xs, range[1])];
    const from = at ?? high;
    const far = event.shiftKey ? FAR : 1;
    const moves: Record<string, number> = { ArrowLeft: from - far, ArrowRight: from + far, Home: low, End: high };
    const to = moves[event.key];
    if (to !== undefined) {
      const x = xs[Math.max(low, Math.min(high, to))] ?? 0;
      made.setCursor({ left: made.valToPos(x, 'x'), top: made.over.clientHeight / 2 });
    } else if (event.key === '+' || event.key === '=') {
      props.onZoom(zoomed(xs, range, xs[from] ?? 0, 0.5));
    } else if (event.key === '-') {
      props.onZoom(zoomed(xs, range, xs[from] ?? 0, 2));
    } else if (event.key === 'Enter' && props.onPick && at !== null) {
      props.onPick(at);
    } else if (event.key === '0' || (event.key === 'Escape' && zoom)) {
      props.onZoom(null);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const place = at ?? data.xs.length - 1;
  // In a notebook some of these keys are shortcuts of its own, down to restarting the kernel.
  return (
    <div
      ref={box}
      className="kfx-Plot-drawn"
      style={{ height }}
      role="slider"
      tabIndex={0}
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={Math.max(0, data.xs.length - 1)}
      aria-valuenow={Math.max(0, place)}
      aria-valuetext={saidAt(props, place)}
      data-lm-suppress-shortcuts=""
      aria-keyshortcuts="ArrowLeft ArrowRight Home End + - 0"
      onKeyDown={onKeyDown}
      onClick={() => at !== null && props.onPick?.(at)}
      onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
    />
  );
}

function rows({ data }: Pick<DrawnProps, 'data'>): uPlot.AlignedData {
  return [data.xs, ...data.values];
}

/** What a plot is drawn by. */
function options(node: HTMLElement, now: () => DrawnProps): uPlot.Options {
  const { series, hidden, height, group, log } = now();
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  const ink = (color: string) => resolved(node, color);
  const font = `11px ${getComputedStyle(node).fontFamily}`;
  const axis: uPlot.Axis = {
    stroke: ink('var(--kfx-dim)'),
    font,
    grid: { stroke: ink('color-mix(in srgb, var(--kfx-fg) 12%, transparent)'), width: 1 },
    ticks: { show: false },
    // A logarithmic axis leaves out what has no room.
    values: (_, splits) => splits.map(value => ((value as number | null) === null ? '' : number(value)))
  };
  return {
    width: Math.max(60, node.clientWidth),
    height,
    padding: [6, 8, 0, 0],
    legend: { show: false },
    scales: { x: { time: false, distr: log ? 3 : 1, range: () => now().zoom ?? whole(now()) }, y: { range: tall } },
    axes: [
      { ...axis, size: 24, gap: 2, space: 60, ...places(now()) },
      { ...axis, size: 52, gap: 4, space: 34 }
    ],
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false },
      points: { size: 7 },
      sync: { key: group, scales: ['x', null], setSeries: false, filters: { pub: type => type === 'mousemove' || type === 'mouseleave' } },
      bind: {
        dblclick: () => () => {
          now().onZoom(null);
          return null;
        }
      }
    },
    series: [
      {},
      ...series.map((one): uPlot.Series => {
        const { color, dash } = look(one.index);
        const stroke = ink(`color-mix(in srgb, ${color} 88%, var(--kfx-fg))`);
        const known = { label: one.name, show: !hidden.has(one.name), stroke };
        if (one.drawn === 'dots') {
          return { ...known, paths: () => null, points: { show: true, size: 5, width: 0, fill: stroke } };
        }
        if (one.drawn === 'steps') {
          return { ...known, width: 1.8, ...(stepped ? { paths: stepped } : {}), points: { show: false } };
        }
        return { ...known, width: 1.8, dash, points: { size: 4, fill: stroke } };
      })
    ],
    hooks: {
      setCursor: [made => now().onAt(made.cursor.idx ?? null)],
      setSelect: [
        made => {
          const { left, width } = made.select;
          if (width > 3) {
            now().onZoom(between(made.posToVal(left, 'x'), made.posToVal(left + width, 'x')));
            made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          }
        }
      ]
    }
  };
}

function whole({ data: { xs }, log, clock, choices }: DrawnProps): [number, number] {
  if (choices) {
    return [-0.5, choices.length - 0.5];
  }
  const low = xs[0] ?? (log ? 1 : 0);
  const high = xs[xs.length - 1] ?? (log ? 10 : 1);
  if (clock && high - low < LEAST_TIME) {
    const middle = xs.length ? (low + high) / 2 : Date.now() / 1000;
    return [middle - LEAST_TIME / 2, middle + LEAST_TIME / 2];
  }
  if (low !== high) {
    return [low, high];
  }
  return log ? [low / 2, low * 2] : around(low);
}

/** The range of the values: with some room, and not of nothing where they are all the same. */
function tall(_: uPlot, low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null) {
    return [0, 1];
  }
  return low === high ? around(low) : uPlot.rangeNum(low, high, 0.1, true);
}

/** Whether a number is 1, 10, 0.1 and so on. */
function isPower(value: number): boolean {
  const power = Math.log10(value);
  return Math.abs(power - Math.round(power)) < 1e-9;
}

/** Where an axis has its marks, where the library's own would be wrong. */
function places({ data: { xs }, choices, clock, log }: DrawnProps): uPlot.Axis {
  if (clock) {
    return {
      splits: (made, _, low, high) => timeMarks(low, high, Math.max(2, Math.floor(made.width / ROOM_OF_TIME))),
      // What would be cut off at an edge, or run into the other axis' words, is left out.
      values: (made, splits) => {
        const words = timeWords(splits);
        const wide = made.bbox.width / window.devicePixelRatio;
        return words.map((word, n) => {
          const at = made.valToPos(splits[n] ?? 0, 'x');
          const half = word.length * HALF_A_LETTER;
          return wide && (at < half - ROOM_AT_LEFT || at > wide + ROOM_AT_RIGHT - half) ? '' : word;
        });
      }
    };
  }
  if (log) {
    return { filter: (_, splits) => splits.map(value => (isPower(value) ? value : null)), incrs: [1] };
  }
  if (choices) {
    return { splits: () => choices.map((_, n) => n), values: (_, splits) => splits.map(n => choices[n] ?? '') };
  }
  return xs.every(Number.isInteger) ? { incrs: WHOLE_STEPS } : {};
}

function between(low: number, high: number): Zoom {
  return high > low ? [low, high] : null;
}
