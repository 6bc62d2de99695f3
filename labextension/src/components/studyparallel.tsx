/**
 * Parallel coordinates: a line a trial through all its values, and a range on each axis that leaves some of them.
 *
 * Lines are drawn on two canvases, all of them faintly and those within the ranges on top, in steps of the theme's
 * colours by rank. A range is drawn with the pointer, or moved by its two ends, which are sliders.
 */

import * as React from 'react';

import { placesOf, ranks, saidOn, within } from '../study';
import type { Axis, Brush } from '../study';
import type { StudyTrial } from '../wire';
import { useKubeflow } from './context';
import { resolved, useTheme } from './ink';

const STEPS = 6;
const TOP = 34;
const BOTTOM = 24;
const SIDE = 54;
/** Lines that are drawn while a range moves; the rest follow when it rests. */
const QUICK = 1500;
const REST = 120;
const NUDGE = 0.02;

export interface ParallelProps {
  axes: Axis[];
  trials: readonly StudyTrial[];
  smaller: boolean;
  brush: Brush;
  onBrush: (brush: Brush) => void;
  /** The trial that is looked at. */
  chosen: string;
  height: number;
}

export function Parallel({ axes, trials, smaller, brush, onBrush, chosen, height }: ParallelProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const box = React.useRef<HTMLDivElement>(null);
  const back = React.useRef<HTMLCanvasElement>(null);
  const front = React.useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = React.useState(600);
  const theme = useTheme();
  const places = React.useMemo(() => placesOf(axes, trials), [axes, trials]);
  const colours = React.useMemo(() => ranks(trials, smaller, STEPS), [trials, smaller]);
  const brushed = Object.keys(brush).length > 0;
  const rows = React.useMemo(() => within(axes, places, brush), [axes, places, brush]);

  React.useLayoutEffect(() => {
    const node = box.current;
    if (!node) {
      return;
    }
    const watch = new ResizeObserver(() => setWidth(node.clientWidth));
    watch.observe(node);
    setWidth(node.clientWidth);
    return () => watch.disconnect();
  }, []);

  const at = (n: number) => (axes.length < 2 ? width / 2 : SIDE + (n * (width - 2 * SIDE)) / (axes.length - 1));
  const span = height - TOP - BOTTOM;
  const scene = { axes, places, colours, width, height, at, span };
  const latest = React.useRef(scene);
  latest.current = scene;

  React.useEffect(() => {
    const frame = requestAnimationFrame(() => {
      if (back.current) {
        const all = trials.map((_, row) => row);
        draw(back.current, latest.current, sample(all, brushed ? QUICK : all.length), brushed);
      }
    });
    return () => cancelAnimationFrame(frame);
  }, [axes, places, colours, width, height, theme, brushed, trials]);

  React.useEffect(() => {
    const node = front.current;
    if (!node) {
      return;
    }
    const mark = trials.findIndex(one => one.name === chosen);
    const paint = (most: number) => draw(node, latest.current, brushed ? sample(rows, most) : [], false, mark);
    const frame = requestAnimationFrame(() => paint(QUICK));
    const timer = rows.length > QUICK && brushed ? window.setTimeout(() => paint(rows.length), REST) : 0;
    return () => {
      cancelAnimationFrame(frame);
      window.clearTimeout(timer);
    };
  }, [rows, brushed, axes, places, colours, width, height, theme, trials, chosen]);

  const set = (name: string, range: readonly [number, number] | null) => {
    const next = Object.fromEntries(Object.entries(brush).filter(([key]) => key !== name));
    if (range && (range[0] > 0.001 || range[1] < 0.999)) {
      next[name] = range;
    }
    onBrush(next);
  };
  return (
    <div className="kfx-Parallel" ref={box} style={{ height }} role="group" aria-label={trans.__('Parallel coordinates of %1 trials', trials.length)} data-lm-suppress-shortcuts="">
      <canvas ref={back} aria-hidden="true" />
      <canvas ref={front} aria-hidden="true" />
      {axes.map((axis, n) => (
        <AxisView key={axis.name} axis={axis} x={at(n)} span={span} range={brush[axis.name] ?? null} onRange={range => set(axis.name, range)} />
      ))}
      <div className="kfx-sr" role="status">
        {brushed ? trans.__('%1 of %2 trials', rows.length, trials.length) : ''}
      </div>
    </div>
  );
}

interface AxisProps {
  axis: Axis;
  x: number;
  span: number;
  range: readonly [number, number] | null;
  onRange: (range: readonly [number, number] | null) => void;
}

function AxisView({ axis, x, span, range, onRange }: AxisProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const track = React.useRef<HTMLDivElement>(null);
  const [low, high] = range ?? [0, 1];
  const placeOf = (event: React.PointerEvent) => {
    const top = track.current?.getBoundingClientRect().top ?? 0;
    return Math.min(1, Math.max(0, 1 - (event.clientY - top) / span));
  };
  /** Follow the pointer from here on: `fixed` is the end that stays. */
  const drag = (event: React.PointerEvent, fixed: number) => {
    event.preventDefault();
    event.stopPropagation();
    const node = track.current;
    if (!node) {
      return;
    }
    node.setPointerCapture(event.pointerId);
    const from = event.clientY;
    const free = event.currentTarget === node;
    const move = (native: PointerEvent) => {
      const place = Math.min(1, Math.max(0, 1 - (native.clientY - node.getBoundingClientRect().top) / span));
      onRange([Math.min(fixed, place), Math.max(fixed, place)]);
    };
    const up = (native: PointerEvent) => {
      node.removeEventListener('pointermove', move);
      node.removeEventListener('pointerup', up);
      node.removeEventListener('pointercancel', up);
      if (free && Math.abs(native.clientY - from) < 3) {
        onRange(null);
      }
    };
    node.addEventListener('pointermove', move);
    node.addEventListener('pointerup', up);
    node.addEventListener('pointercancel', up);
  };
  const step = axis.values.length ? 1 / axis.values.length : NUDGE;
  const onKeyDown = (event: React.KeyboardEvent, end: 0 | 1) => {
    const now = end ? high : low;
    const far = event.shiftKey ? 5 : 1;
    const moves: Record<string, number> = {
      ArrowUp: now + step * far,
      ArrowRight: now + step * far,
      ArrowDown: now - step * far,
      ArrowLeft: now - step * far,
      PageUp: now + step * 5,
      PageDown: now - step * 5,
      Home: 0,
      End: 1
    };
    const to = event.key === 'Escape' ? (end ? 1 : 0) : moves[event.key];
    if (to === undefined) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    const held = Math.min(1, Math.max(0, to));
    onRange(end ? [low, Math.max(low, held)] : [Math.min(high, held), high]);
  };
  const shown = axis.values.length && axis.values.length <= 12 ? axis.values : null;
  const ends: [0 | 1, string][] = [
    [0, trans.__('%1 from', axis.name)],
    [1, trans.__('%1 to', axis.name)]
  ];
  return (
    <div className="kfx-Axis" style={{ left: x }}>
      <div className="kfx-Axis-name" title={axis.log ? trans.__('%1, logarithmic', axis.name) : axis.name}>
        {axis.name}
      </div>
      <div
        ref={track}
        className="kfx-Axis-track"
        style={{ top: TOP, height: span }}
        title={trans.__('Draw a range; click to clear it')}
        onPointerDown={event => drag(event, placeOf(event))}
      >
        {range && <div className="kfx-Axis-range" style={{ bottom: `${low * 100}%`, height: `${(high - low) * 100}%` }} />}
        {ends.map(([end, label]) => (
          <div
            key={end}
            className={`kfx-Axis-end${range ? ' kfx-on' : ''}`}
            style={{ bottom: `${(end ? high : low) * 100}%` }}
            role="slider"
            tabIndex={0}
            aria-label={label}
            aria-orientation="vertical"
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={Math.round((end ? high : low) * 100)}
            aria-valuetext={saidOn(axis, Math.min(0.9999, end ? high : low))}
            onKeyDown={event => onKeyDown(event, end)}
            onPointerDown={event => drag(event, end ? low : high)}
          />
        ))}
      </div>
      {shown ? (
        shown.map((value, n) => (
          <div key={value} className="kfx-Axis-mark" style={{ top: TOP + span * (1 - (n + 0.5) / shown.length) }}>
            {value}
          </div>
        ))
      ) : (
        <>
          <div className="kfx-Axis-mark kfx-Axis-high" style={{ top: TOP }}>
            {saidOn(axis, range ? high : 1)}
          </div>
          <div className="kfx-Axis-mark kfx-Axis-low" style={{ top: TOP + span }}>
            {saidOn(axis, range ? low : 0)}
          </div>
        </>
      )}
    </div>
  );
}

interface Scene {
  axes: Axis[];
  places: Float32Array;
  colours: Int8Array;
  width: number;
  height: number;
  at: (n: number) => number;
  span: number;
}

/** Some of many rows, evenly. */
function sample(rows: number[], most: number): number[] {
  if (rows.length <= most) {
    return rows;
  }
  return Array.from({ length: most }, (_, n) => rows[Math.floor((n * rows.length) / most)] ?? 0);
}

/** Draw these rows, the best on top; faintly where others will be drawn over them, and one of them strongly. */
function draw(canvas: HTMLCanvasElement, scene: Scene, rows: number[], faint: boolean, mark = -1): void {
  const { axes, places, colours, width, height, at, span } = scene;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext('2d');
  const holder = canvas.parentElement;
  if (!pen || !holder) {
    return;
  }
  pen.scale(scale, scale);
  const xs = axes.map((_, n) => at(n));
  const line = (row: number) => {
    let down = false;
    for (let n = 0; n < xs.length; n++) {
      const place = places[row * xs.length + n] ?? NaN;
      if (Number.isNaN(place)) {
        down = false;
        continue;
      }
      const y = TOP + span * (1 - place);
      if (down) {
        pen.lineTo(xs[n] ?? 0, y);
      } else {
        pen.moveTo(xs[n] ?? 0, y);
        down = true;
      }
    }
  };
  const buckets = new Map<number, number[]>();
  for (const row of rows) {
    const bucket = colours[row] ?? -1;
    const known = buckets.get(bucket);
    if (known) {
      known.push(row);
    } else {
      buckets.set(bucket, [row]);
    }
  }
  pen.lineWidth = rows.length > 400 ? 0.8 : 1.4;
  const thick = Math.min(0.85, Math.max(0.12, 14 / Math.sqrt(rows.length + 1)));
  const order = [-1, ...Array.from({ length: STEPS }, (_, n) => STEPS - 1 - n)];
  for (const bucket of order) {
    const held = buckets.get(bucket);
    if (!held) {
      continue;
    }
    pen.globalAlpha = faint ? Math.min(0.16, thick / 3) : thick;
    pen.strokeStyle = resolved(holder, faint || bucket < 0 ? 'var(--kfx-dim)' : colour(bucket));
    pen.beginPath();
    held.forEach(line);
    pen.stroke();
  }
  if (mark >= 0) {
    pen.globalAlpha = 1;
    pen.lineWidth = 3;
    pen.strokeStyle = resolved(holder, 'var(--kfx-fg)');
    pen.beginPath();
    line(mark);
    pen.stroke();
  }
}

/** From the brand's colour for the best to a quiet one. */
function colour(bucket: number): string {
  return `color-mix(in srgb, var(--kfx-brand) ${Math.round(100 - (85 * bucket) / (STEPS - 1))}%, var(--kfx-off))`;
}
