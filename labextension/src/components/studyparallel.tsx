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
import { useTheme } from './ink';
import { paint, sample, STEPS, TOP } from './strokes';

const BOTTOM = 24;
const SIDE = 54;
/** Lines that are drawn while a range moves; the rest follow when it rests. */
const QUICK = 240;
/** Lines that are drawn behind those within the ranges. */
const BEHIND = 1500;
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

  const painted = React.useRef(false);
  React.useEffect(() => {
    const node = back.current;
    if (!node) {
      return;
    }
    const all = trials.map((_, row) => row);
    const atOnce = !painted.current;
    painted.current = true;
    return paint(node, latest.current, { rows: sample(all, brushed ? BEHIND : all.length), faint: brushed, mark: -1, atOnce });
  }, [axes, places, colours, width, height, theme, brushed, trials]);

  const before = React.useRef(brush);
  React.useEffect(() => {
    const node = front.current;
    if (!node) {
      return;
    }
    const mark = trials.findIndex(one => one.name === chosen);
    const lines = { rows: brushed ? rows : [], faint: false, mark, atOnce: false };
    const moved = before.current !== brush;
    before.current = brush;
    if (!moved || lines.rows.length <= QUICK) {
      return paint(node, latest.current, lines);
    }
    let end = paint(node, latest.current, { ...lines, rows: sample(lines.rows, QUICK), atOnce: true });
    const timer = window.setTimeout(() => {
      end();
      end = paint(node, latest.current, lines);
    }, REST);
    return () => {
      window.clearTimeout(timer);
      end();
    };
  }, [rows, brush, brushed, axes, places, colours, width, height, theme, trials, chosen]);

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
