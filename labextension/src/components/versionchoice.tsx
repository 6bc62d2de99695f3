/** Which of an endpoint's versions is meant. */

import * as React from 'react';

interface Props {
  versions: readonly { name: string }[];
  /** What the choice is about, for who cannot see it. */
  label: string;
  value: string;
  onChoose: (name: string) => void;
}

export function VersionChoice({ versions, label, value, onChoose }: Props): React.JSX.Element {
  return (
    <select className="kfx-Select" aria-label={label} value={value} onChange={event => onChoose(event.target.value)}>
      {versions.map(({ name }) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}
