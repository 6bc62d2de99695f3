/**
 * The lines of parallel coordinates, drawn a few at a time.
 *
 * Ten thousand lines take a canvas a second where there is no graphics card. So they are drawn beside what is shown, for
 * a few milliseconds a frame, and shown when they are done; only what is shown for the first time, or has to follow a
 * pointer, is shown as it comes.
 */

import type { Axis } from '../study';
import { resolved } from './ink';

export const STEPS = 6;
export const TOP = 34;
/** Milliseconds of a frame in which lines are drawn. */
const BUDGET = 8;
/** Lines between two looks at the clock. */
const FEW = 24;

export interface Scene {
  axes: Axis[];
  places: Float32Array;
  colours: Int8Array;
  width: number;
  height: number;
  at: (n: number) => number;
  span: number;
}

export interface Lines {
  rows: readonly number[];
  /** Others will be drawn over them. */
  faint: boolean;
  /** One that is drawn strongly, or -1. */
  mark: number;
  /** Show what is drawn as it comes. */
  atOnce: boolean;
}

/** Some of many rows, evenly. */
export function sample(rows: readonly number[], most: number): readonly number[] {
  if (rows.length <= most) {
    return rows;
  }
  return Array.from({ length: most }, (_, n) => rows[Math.floor((n * rows.length) / most)] ?? 0);
}

/** Draw these lines, the best on top; answers what ends it before it is done. */
export function paint(canvas: HTMLCanvasElement, scene: Scene, { rows, faint, mark, atOnce }: Lines): () => void {
  const { axes, places, colours, width, height, at, span } = scene;
  const scale = window.devicePixelRatio || 1;
  const made = document.createElement('canvas');
  made.width = Math.max(1, Math.round(width * scale));
  made.height = Math.max(1, Math.round(height * scale));
  // Read after each few lines: only then they are really drawn, and not all of them at the end of a frame.
  const pen = made.getContext('2d', { willReadFrequently: true });
  const holder = canvas.parentElement;
  if (!pen || !holder) {
    return () => undefined;
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
  const order = [-1, ...Array.from({ length: STEPS }, (_, n) => STEPS - 1 - n)];
  const inks = new Map(order.map(bucket => [bucket, resolved(holder, faint || bucket < 0 ? 'var(--kfx-dim)' : colour(bucket))]));
  const ink = resolved(holder, 'var(--kfx-fg)');
  const queue = order.flatMap(bucket => rows.filter(row => (colours[row] ?? -1) === bucket));
  const thick = Math.min(0.85, Math.max(0.08, 14 / Math.sqrt(rows.length + 1)));
  let next = 0;
  const show = () => {
    if (canvas.width !== made.width || canvas.height !== made.height) {
      canvas.width = made.width;
      canvas.height = made.height;
    }
    const shown = canvas.getContext('2d');
    shown?.clearRect(0, 0, made.width, made.height);
    shown?.drawImage(made, 0, 0);
  };
  const go = () => {
    const begun = performance.now();
    pen.lineWidth = rows.length > 400 ? 0.8 : 1.4;
    pen.globalAlpha = faint ? Math.min(0.16, thick / 3) : thick;
    while (next < queue.length && performance.now() - begun < BUDGET) {
      const bucket = colours[queue[next] ?? 0] ?? -1;
      pen.strokeStyle = inks.get(bucket) ?? '';
      pen.beginPath();
      for (let count = 0; count < FEW && next < queue.length && (colours[queue[next] ?? 0] ?? -1) === bucket; count++) {
        line(queue[next] ?? 0);
        next += 1;
      }
      pen.stroke();
      pen.getImageData(0, 0, 1, 1);
    }
    const done = next >= queue.length;
    if (done && mark >= 0) {
      pen.globalAlpha = 1;
      pen.lineWidth = 3;
      pen.strokeStyle = ink;
      pen.beginPath();
      line(mark);
      pen.stroke();
    }
    if (done || atOnce) {
      show();
    }
    frame = done ? 0 : requestAnimationFrame(go);
  };
  let frame = requestAnimationFrame(go);
  return () => cancelAnimationFrame(frame);
}

/** From the brand's colour for the best to a quiet one. */
function colour(bucket: number): string {
  return `color-mix(in srgb, var(--kfx-brand) ${Math.round(100 - (85 * bucket) / (STEPS - 1))}%, var(--kfx-off))`;
}
