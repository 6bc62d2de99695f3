/** The graph of an endpoint as a drawing: from the requests through routers, transformers and combiners to the models. */

import * as React from 'react';

import { drawn, NODE } from '../endpoints';
import type { PlacedUnit } from '../endpoints';
import type { VersionView } from '../wire';
import { useKubeflow } from './context';

const MOST_LETTERS = 16;

/** What the types of units are called. */
export function useUnitWords(): Record<string, string> {
  const { trans } = useKubeflow();
  return {
    REQUESTS: trans.__('requests'),
    MODEL: trans.__('model'),
    ROUTER: trans.__('router'),
    COMBINER: trans.__('combiner'),
    TRANSFORMER: trans.__('transformer'),
    OUTPUT_TRANSFORMER: trans.__('output transformer')
  };
}

export function Graph({ versions, endpoint }: { versions: readonly VersionView[]; endpoint: string }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const words = useUnitWords();
  const { width, height, units, edges } = React.useMemo(() => drawn(versions, endpoint), [versions, endpoint]);
  if (units.length < 2) {
    return null;
  }
  const said = versions.map(one => trans.__('%1 percent of the requests to %2', one.mirror ?? one.traffic, one.graph)).join('; ');
  return (
    <div className="kfx-Graph" tabIndex={0} role="region" aria-label={trans.__('Graph')}>
      <svg role="img" aria-label={trans.__('Graph: %1', said)} width={width + 2} height={height + 2} viewBox={`-1 -1 ${width + 2} ${height + 2}`}>
        {edges.map(({ from, to, label, faint }) => {
          const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
          const [x2, y2] = [to.x, to.y + NODE.height / 2];
          const middle = (x1 + x2) / 2;
          return (
            <g key={`${from.id}>${to.id}`} className={`kfx-Graph-edge${faint ? ' kfx-faint' : ''}`}>
              <path d={`M${x1},${y1}C${middle},${y1} ${middle},${y2} ${x2},${y2}`} />
              {label && (
                <text x={x2 - 4} y={y2 > y1 ? y2 + 14 : y2 - 5} textAnchor="end">
                  {label}
                </text>
              )}
            </g>
          );
        })}
        {units.map(unit => (
          <Unit key={unit.id || 'requests'} unit={unit} word={words[unit.type] ?? unit.type.toLowerCase()} />
        ))}
      </svg>
    </div>
  );
}

function Unit({ unit, word }: { unit: PlacedUnit; word: string }): React.JSX.Element {
  const { x, y, name, whole, type } = unit;
  const shown = name.length > MOST_LETTERS ? `${name.slice(0, MOST_LETTERS - 1)}…` : name;
  const middle = x + NODE.width / 2;
  return (
    <g className={`kfx-Graph-unit kfx-Graph-${type}`}>
      <title>{name ? `${whole} (${word})` : word}</title>
      <rect x={x} y={y} width={NODE.width} height={NODE.height} rx={type === 'MODEL' ? 5 : NODE.height / 2} />
      {name && (
        <text x={middle} y={y + 17} textAnchor="middle" className="kfx-Graph-name">
          {shown}
        </text>
      )}
      <text x={middle} y={y + (name ? 31 : 24)} textAnchor="middle">
        {word}
      </text>
    </g>
  );
}
