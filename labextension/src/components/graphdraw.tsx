/** A graph that is edited, as a drawing: units are chosen, dragged and deleted in it, by mouse and by keys. */

import * as React from 'react';

import * as drafts from '../drafts';
import { drawn, NODE } from '../endpoints';
import type { PlacedEdge, PlacedUnit } from '../endpoints';
import type { GraphDraft } from '../wire';
import { useKubeflow } from './context';
import { useUnitWords } from './graph';

const MOST_LETTERS = 17;
/** Pixels that a pointer moves before it drags. */
const SLACK = 6;

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

export function Drawing({ root, chosen, onChoose, onMove, onRemove }: DrawingProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const words = useUnitWords();
  const [drag, setDrag] = React.useState<Drag | null>(null);
  const picture = React.useMemo(() => drawn([drafts.asVersion(root)]), [root]);
  const ids = React.useMemo(() => drafts.idsByPlace(root), [root]);
  const svg = React.useRef<SVGSVGElement>(null);
  const units = picture.units.filter(one => one.type !== 'REQUESTS');
  const idOf = (unit: PlacedUnit) => ids.get(unit.id) ?? '';
  const places = new Set(drag ? drafts.placesFor(root, drag.id).map(one => one.id) : []);
  const find = (id: string) => svg.current?.querySelector<SVGGElement>(`[data-unit="${id}"]`);
  const focus = (id: string) => {
    onChoose(id);
    find(id)?.focus();
  };
  // Who deletes a unit with a key goes on with keys at the one that is chosen then.
  const gone = React.useRef(false);
  React.useEffect(() => {
    if (gone.current) {
      gone.current = false;
      svg.current?.querySelector<SVGGElement>(`[data-unit="${chosen}"]`)?.focus();
    }
  }, [root, chosen]);
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
      gone.current = true;
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
