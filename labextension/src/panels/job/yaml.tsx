/** The manifest of a job: read, copied, edited; an edit that comes too late is never lost. */

import * as React from 'react';

import { KubeflowError } from '../../client';
import type { Overtaken } from '../../client';
import { useKubeflow } from '../../components/context';
import { Editor } from '../../components/editor';
import { Empty } from '../../components/parts';
import type { JobDetail } from '../../wire';
import { useRead, Waiting } from './reading';
import type { Common } from './reading';

export function Yaml({ jobKey }: Common): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const [again, setAgain] = React.useState(0);
  const { value, error } = useRead<JobDetail>(() => client.detail(jobKey), again);
  const [text, setText] = React.useState<string | null>(null);
  const [said, setSaid] = React.useState('');
  const [saved, setSaved] = React.useState<JobDetail | null>(null);
  const [clash, setClash] = React.useState<Overtaken | null>(null);
  const [left, setLeft] = React.useState<string | null>(null);
  const current = saved ?? value;
  if (!current) {
    return error ? <Empty title={error} /> : <Waiting />;
  }
  const apply = async () => {
    try {
      setSaved(await client.replace(jobKey, text ?? current.manifest, current));
      setText(null);
      setLeft(null);
      setSaid(trans.__('Applied.'));
    } catch (caught) {
      if (caught instanceof KubeflowError && caught.overtaken) {
        setClash(caught.overtaken);
        setSaid('');
        return;
      }
      setSaid(caught instanceof Error ? caught.message : String(caught));
    }
  };
  const takeTheirs = ({ now, both }: Overtaken) => {
    setSaved(now);
    setText(null);
    setLeft(both);
    setClash(null);
    setSaid(trans.__('This is what the cluster has now.'));
  };
  const keepMine = ({ now, both }: Overtaken) => {
    setSaved(now);
    setText(both);
    setClash(null);
    setSaid(trans.__('Your edit, on top of what the cluster has now. It is not applied yet.'));
  };
  const reread = () => {
    setSaved(null);
    setText(null);
    setLeft(null);
    setClash(null);
    setSaid('');
    setAgain(again + 1);
  };
  return (
    <div className="kfx-Yaml">
      <div className="kfx-Tools-row">
        <button type="button" className="kfx-Button kfx-primary" disabled={clash !== null || text === null || text === current.manifest} onClick={() => void apply()}>
          {trans.__('Apply')}
        </button>
        <button type="button" className="kfx-Button" onClick={reread}>
          {trans.__('Read again')}
        </button>
        <button type="button" className="kfx-Button" onClick={() => void navigator.clipboard.writeText(text ?? current.manifest)}>
          {trans.__('Copy')}
        </button>
        {left !== null && text === null && (
          <button type="button" className="kfx-Button" onClick={() => setText(left)}>
            {trans.__('My edit again')}
          </button>
        )}
        <span role="status">{said}</span>
      </div>
      {clash && (
        <div className="kfx-Notice" role="alert">
          <b>{trans.__('%1 has changed since you read it; nothing was applied.', jobKey.name)}</b>
          <div className="kfx-Tools-row">
            <button type="button" className="kfx-Button" onClick={() => takeTheirs(clash)}>
              {trans.__('Use theirs')}
            </button>
            <button type="button" className="kfx-Button" onClick={() => keepMine(clash)}>
              {trans.__('Keep mine on top of it')}
            </button>
          </div>
        </div>
      )}
      <div className="kfx-Sides">
        <Editor
          mime="text/x-yaml"
          label={clash ? trans.__('Your edit of %1', jobKey.name) : trans.__('Manifest of %1', jobKey.name)}
          text={text ?? current.manifest}
          onChange={clash ? undefined : setText}
        />
        {clash && <Editor mime="text/x-yaml" label={trans.__('%1 on the cluster now', jobKey.name)} text={clash.now.manifest} />}
      </div>
    </div>
  );
}
