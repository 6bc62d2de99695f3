/** Text in JupyterLab's own editor: highlighted, in its theme and with its keys. Plain where there is no such editor. */

import { CodeEditor } from '@jupyterlab/codeeditor';
import * as React from 'react';

import { useKubeflow } from './context';

export interface EditorProps {
  text: string;
  mime: 'text/x-python' | 'text/x-yaml';
  label: string;
  /** Called with what is written; without it the text is only read. */
  onChange?: ((text: string) => void) | undefined;
}

export function Editor(props: EditorProps): React.JSX.Element {
  const { editors } = useKubeflow();
  const { text, mime, label, onChange } = props;
  const box = React.useRef<HTMLDivElement>(null);
  const made = React.useRef<CodeEditor.IEditor | null>(null);
  const latest = React.useRef(props);
  latest.current = props;

  React.useLayoutEffect(() => {
    const host = box.current;
    if (!host || !editors) {
      return;
    }
    const model = new CodeEditor.Model({ mimeType: mime });
    model.sharedModel.setSource(latest.current.text);
    model.sharedModel.changed.connect(() => {
      const written = model.sharedModel.getSource();
      if (written !== latest.current.text) {
        latest.current.onChange?.(written);
      }
    });
    const editor = editors.factoryService.newDocumentEditor({ host, model, config: { lineNumbers: true, lineWrap: false, scrollPastEnd: false } });
    made.current = editor;
    return () => {
      made.current = null;
      editor.dispose();
      model.dispose();
    };
  }, [editors, mime]);

  React.useLayoutEffect(() => {
    const editor = made.current;
    if (editor && editor.model.sharedModel.getSource() !== text) {
      editor.model.sharedModel.setSource(text);
    }
  }, [text]);

  const fixed = !onChange;
  React.useLayoutEffect(() => {
    made.current?.setOption('readOnly', fixed);
    const content = box.current?.querySelector('.cm-content');
    content?.setAttribute('aria-label', label);
    content?.setAttribute('aria-readonly', String(fixed));
  }, [label, fixed, editors, mime]);

  if (!editors) {
    return (
      <textarea
        className="kfx-Text"
        spellCheck={false}
        readOnly={fixed}
        aria-label={label}
        value={text}
        onChange={event => onChange?.(event.target.value)}
      />
    );
  }
  return <div ref={box} className="kfx-Editor" />;
}
